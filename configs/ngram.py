"""An n-gram model of Python's own documentation, counted in seconds.

ctxlm train --config configs/ngram.py --workdir runs/ngram

Interpolated modified Kneser-Ney of order 5 over the tokens of
configs/quickstart_causal.py, whose perplexity it may be compared with.
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 0  # it is counted
  c.batch_size = 16
  c.max_length = 1024  # of the rows that it is judged on
  c.tokenizer.vocab_size = 4096
  c.model = {'name': 'ngram', 'order': 5, 'estimator': 'modified_kneser_ney'}
  c.tasks.text = common.task({'name': 'corpus'}, {'name': 'causal'})
  c.evaluators.perplexity = {'name': 'perplexity'}
  return c
