"""Masked LM and SimCSE in one model, each on its own stream of data.

ctxlm train --config configs/multitask.py --workdir runs/multitask
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 300
  c.batch_size = 32
  c.max_length = 96
  c.tokenizer.kind = 'wordpiece'
  c.tokenizer.vocab_size = 4096
  c.model = common.bert_shape(
    192,
    3,
    6,
    max_length=c.get_oneway_ref('max_length'),
    dropout=0.1,
    attention_dropout=0.1,
  )
  c.tasks.words = common.task({'name': 'corpus'}, {'name': 'mlm'})
  c.tasks.sentences = common.task(
    {'name': 'corpus', 'unit': 'sentence'},
    {'name': 'contrastive', 'pooling': 'mean', 'max_length': 32},
    weight=0.5,
  )
  c.optimizer.learning_rate = 1e-3
  c.optimizer.warmup_steps = 30
  c.evaluators.mlm = {'name': 'losses', 'task': 'words', 'every_steps': 100}
  c.evaluators.sphere = {
    'name': 'alignment',
    'task': 'sentences',
    'every_steps': 100,
  }
  return c
