"""A small BERT, masked LM and next sentence, on Python's documentation.

ctxlm train --config configs/quickstart_mlm.py --workdir runs/quickstart_mlm
"""

from configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 500
  c.batch_size = 32
  c.max_length = 96
  c.tokenizer.kind = 'wordpiece'
  c.tokenizer.vocab_size = 4096
  c.model = common.bert_shape(192, 3, 6, max_length=96)
  c.tasks.text = common.task(
    {'name': 'corpus'}, {'name': 'mlm', 'pair': 'next_sentence'}
  )
  c.optimizer.learning_rate = 2e-3
  c.optimizer.warmup_steps = 50
  c.evaluators.mlm = {'name': 'losses', 'every_steps': 250}
  return c
