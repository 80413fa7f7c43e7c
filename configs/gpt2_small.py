"""GPT-2 small, 124 million parameters, on the One Billion Word benchmark.

Radford et al. 2019, table 2; recipe of GPT-3's small model (Brown et al.
2020, table 2.1). Needs `lm1b` as TFDS prepared it, in ArrayRecord files, and a
GPU or TPU; not run by us on its full data.

ctxlm train --config configs/gpt2_small.py --workdir runs/gpt2_small
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 100_000
  c.batch_size = 512
  c.max_length = 1024
  c.tokenizer.vocab_size = 32_000
  c.model = common.gpt2_shape(
    768,
    12,
    12,
    max_length=c.get_oneway_ref('max_length'),
    dropout=0.1,
    attention_dropout=0.0,
    scan_layers=True,
    dtype='bfloat16',
  )
  c.tasks.text = common.task(
    {'name': 'tfds', 'dataset': 'lm1b'}, {'name': 'causal'}
  )
  c.optimizer.learning_rate = 6e-4
  c.optimizer.warmup_steps = 2000
  c.optimizer.final_fraction = 0.1
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.1
  c.checkpoint.every_steps = 2000
  c.evaluators.perplexity = {
    'name': 'perplexity',
    'split': 'test',
    'every_steps': 5000,
  }
  return c
