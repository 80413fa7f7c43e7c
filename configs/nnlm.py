"""The neural model of Bengio et al. 2003, on Python's own documentation.

ctxlm train --config configs/nnlm.py --workdir runs/nnlm

Each token from the embeddings of the four before it (JMLR 3:1137), by units of
tanh and by direct connections, on the text of configs/quickstart_causal.py.
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 250
  c.batch_size = 16
  c.max_length = 128
  c.tokenizer.vocab_size = 4096
  c.model = {
    'name': 'feed_forward',
    'order': 5,
    'embedding_size': 60,
    'hidden_size': 200,
    'direct': True,
  }
  c.tasks.text = common.task({'name': 'corpus'}, {'name': 'causal'})
  c.optimizer.learning_rate = 5e-3
  c.optimizer.warmup_steps = 40
  c.evaluators.perplexity = {'name': 'perplexity', 'every_steps': 125}
  return c
