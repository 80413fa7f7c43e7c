"""A LLaMA-shaped decoder of 1.1 billion parameters, sharded over a mesh.

Rotary positions, RMSNorm, gated SiLU MLP, grouped-query heads, no biases
(Touvron et al. 2023), layers scanned and rematerialised, parameters cut over
`fsdp`. Not run by us at this size.

ctxlm train --config configs/llama_1b.py --workdir runs/llama_1b \
  --config.parallel.fsdp=8
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 50_000
  c.batch_size = 256
  c.max_length = 2048
  c.tokenizer.vocab_size = 32_000
  c.model = common.llama_shape(
    2048,
    22,
    32,
    num_kv_heads=4,
    mlp_dim=5632,
    max_length=c.get_oneway_ref('max_length'),
    scan_layers=True,
    remat='full',
    dtype='bfloat16',
  )
  c.tasks.text = common.task(
    {'name': 'tfds', 'dataset': 'lm1b'}, {'name': 'causal'}
  )
  c.parallel.strategy = 'mesh'
  c.optimizer.learning_rate = 4e-4
  c.optimizer.warmup_steps = 2000
  c.optimizer.final_fraction = 0.1
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.1
  c.checkpoint.every_steps = 1000
  c.evaluators.perplexity = {
    'name': 'perplexity',
    'split': 'test',
    'every_steps': 5000,
  }
  return c
