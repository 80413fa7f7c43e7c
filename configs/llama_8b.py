"""A LLaMA-shaped decoder of 8 billion parameters, sharded over a large slice.

The shape of Llama 3 8B (Dubey et al. 2024, arXiv:2407.21783, table 3): 32
layers, grouped-query heads, rows of 8,192 tokens, a vocabulary of 128,256; 4
million tokens a step, of text that is at hand. Not run by us at this size;
`ctxlm plan` tells what it needs.

ctxlm train --config configs/llama_8b.py --workdir runs/llama_8b \
  --config.parallel.fsdp=512
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 250_000
  c.batch_size = 512
  c.max_length = 8192
  c.tokenizer.vocab_size = 128_256
  c.model = common.llama_shape(
    4096,
    32,
    32,
    num_kv_heads=8,
    mlp_dim=14_336,
    max_length=c.get_oneway_ref('max_length'),
    rotary_base=500_000.0,
    scan_layers=True,
    remat='full',
    dtype='bfloat16',
  )
  c.tasks.text = common.task(
    {'name': 'tfds', 'dataset': 'wikipedia/20230601.en'}, {'name': 'causal'}
  )
  c.parallel.strategy = 'mesh'
  c.optimizer.learning_rate = 3e-4
  c.optimizer.warmup_steps = 8000
  c.optimizer.final_fraction = 0.1
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.1
  c.checkpoint.every_steps = 1000
  c.evaluators.perplexity = {
    'name': 'perplexity',
    'split': 'validation',
    'every_steps': 5000,
  }
  return c
