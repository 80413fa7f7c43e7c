"""Unsupervised SimCSE, with an auxiliary MLM, on Python's documentation.

ctxlm train --config configs/quickstart_contrastive.py \
  --workdir runs/quickstart_contrastive
"""

from configs import common, quickstart_mlm


def get_config():
  """Returns the recipe."""
  c = quickstart_mlm.get_config()
  c.num_steps = 300
  c.batch_size = 32
  c.max_length = 32
  c.model.max_length = 32
  c.model.dropout = c.model.attention_dropout = 0.1
  c.tasks.text = common.task(
    {'name': 'corpus', 'unit': 'sentence'},
    {'name': 'contrastive', 'pooling': 'mean', 'mlm_weight': 0.1},
  )
  c.checkpoint.every_steps = 150
  del c.evaluators.mlm
  c.evaluators.alignment = {'name': 'alignment', 'every_steps': 150}
  return c
