r"""Answers of everyday dialogues, DailyDialog (Li et al. 2017).

The argument is a folder of any kind with a decoder, or nothing, which trains a
small GPT from scratch; behind a comma, the file of dialogues, one a line with
__eou__ after each turn; behind another, how many turns before it an answer
sees, or nothing for all:

ctxlm train --config configs/finetune/dailydialog.py --workdir runs/dailydialog
ctxlm train --config configs/finetune/dailydialog.py:,,1 --workdir runs/one_turn
"""

from ctxlm.configs import common

# Rows of a batch by the turns of context, so that each has as many answers.
ROWS = {'0': 16, '1': 31, '3': 55}


def get_config(argument=''):
  """Returns the recipe."""
  checkpoint, file, context, *_ = *argument.split(','), '', ''
  c = common.base()
  if checkpoint:
    opened = common.start_from(c, checkpoint)
    c.max_length = min(opened.block['max_length'], 256)
  else:
    c.model = common.gpt2_shape(128, 3, 4, dropout=0.2, max_length=256)
    c.tokenizer.vocab_size = 4000
  c.num_steps = 135  # 5 epochs of 882 dialogues
  c.batch_size = ROWS.get(context, 36)
  c.tasks.dialogue = common.task(
    {
      'name': 'files',
      'pattern': file or '../shared/data/dailydialog/dialogues.txt',
      'separator': 'line',
      'turns': '__eou__',
    },
    {
      'name': 'causal',
      'kind': 'dialogue',
      'context': int(context) if context else None,
    },
  )
  c.optimizer.learning_rate = 2e-3
  c.optimizer.warmup_steps = 30
  c.checkpoint.every_steps = 65
  c.evaluators.answers = {'name': 'perplexity', 'every_steps': 65}
  c.evaluators.written = {
    'name': 'generation',
    'metrics': ('distinct',),
    'decoding': {'strategy': 'sample', 'top_p': 0.9, 'max_new_tokens': 40},
    'limit': 50,
  }
  return c
