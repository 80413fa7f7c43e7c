"""Unsupervised SimCSE on sentences of Python's documentation.

ctxlm train --config configs/quickstart_contrastive.py \
  --workdir runs/quickstart_contrastive
"""

from configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 300
  c.batch_size = 64
  c.max_length = 32
  c.tokenizer.kind = 'wordpiece'
  c.tokenizer.vocab_size = 4096
  c.model = common.bert_shape(
    192, 3, 6, max_length=32, dropout=0.1, attention_dropout=0.1
  )
  c.tasks.text = common.task(
    {'name': 'corpus', 'unit': 'sentence'},
    {'name': 'contrastive', 'pooling': 'mean', 'mlm_weight': 0.1},
  )
  c.optimizer.learning_rate = 5e-4
  c.optimizer.warmup_steps = 30
  c.evaluators.alignment = {'name': 'alignment', 'every_steps': 100}
  return c
