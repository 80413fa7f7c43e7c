"""A small BART that restores deleted words of Python's documentation.

ctxlm train --config configs/quickstart_seq2seq.py \
  --workdir runs/quickstart_seq2seq
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 400
  c.batch_size = 32
  c.max_length = 48
  c.tokenizer.vocab_size = 4096
  c.model = {
    'name': 'encoder_decoder',
    'hidden_size': 192,
    'num_layers': 2,
    'num_heads': 6,
    'max_length': c.get_oneway_ref('max_length'),
  }
  c.tasks.text = common.task(
    {'name': 'corpus', 'unit': 'sentence'},
    {'name': 'seq2seq', 'noise': 'delete', 'label_smoothing': 0.1},
  )
  c.optimizer.learning_rate = 2e-3
  c.optimizer.warmup_steps = 40
  c.evaluators.seq2seq = {'name': 'losses', 'every_steps': 200}
  return c
