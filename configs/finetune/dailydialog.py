r"""Answers of everyday dialogues, DailyDialog (Li et al. 2017).

The argument is a folder of any kind with a decoder, or nothing, which trains a
small GPT from scratch; behind a comma, the file of dialogues, one a line with
__eou__ after each turn; behind another, how many turns before it an answer
sees, or nothing for all:

ctxlm train --config configs/finetune/dailydialog.py --workdir runs/dailydialog
ctxlm train --config configs/finetune/dailydialog.py:,,1 --workdir runs/one_turn

Perplexity of the validation split's 8,990 tokens of answers, from scratch with
config.batch_size=16, 1 seed each: 147.6 without context (135 steps, 1 minute),
128.4 after one turn (260 steps), 118.9 after three (465 steps, 4 minutes on two
busy cores), each 5 times over the answers. Of 118 dialogues, validation and
test, one turn gives -0.155 nats a token (95 % of resampled dialogues: -0.168
to -0.142) and two more -0.083 (-0.093 to -0.072). That is context and steps
together: after one turn, 465 steps give 105.3. So ROWS, by which all take as
many steps and see as many answers in each; that comparison was not run.
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
