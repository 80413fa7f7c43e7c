r"""Answers of everyday dialogues, DailyDialog (Li et al. 2017).

The argument is a folder of any kind with a decoder, or nothing, which trains a
small GPT from scratch; behind a comma, the file of dialogues, one a line with
__eou__ after each turn; behind another, how many turns before it an answer
sees, or nothing for all:

ctxlm train --config configs/finetune/dailydialog.py --workdir runs/dailydialog
ctxlm train --config configs/finetune/dailydialog.py:,,1 --workdir runs/one_turn

Does context help? Perplexity of the answers of 118 dialogues, validation and
test, the same tokens in all; in nats a token with 95 % of resampled dialogues:

- From scratch, 135 steps, seed 0: 146.6 without context, 151.4 after one turn
  (+0.032, 0.024 to 0.039) and 150.1 after three (-0.009, -0.015 to -0.003
  beside one). It doesn't, so far: by ROWS all take as many steps and see as
  many answers in each, and so few teach words, not how to use a turn.
- SmolLM2-135M-Instruct as it is, config.num_steps=0, without its template:
  184.0, 162.2 (-0.126, -0.173 to -0.080) and 39.3 (-1.417, -1.531 to -1.308).
  It does. Part of it is the form, signs apart from words and an end of each
  turn, which two turns show and one doesn't; transformers gives the same.

From scratch these took 3, 8 and 11 minutes on a busy core.
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
    c.model = common.gpt2_shape(
      128, 3, 4, dropout=0.2, max_length=c.get_oneway_ref('max_length')
    )
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
