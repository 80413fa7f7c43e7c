r"""An n-gram model of Python's own documentation, counted in seconds.

ctxlm train --config configs/ngram.py --workdir runs/ngram

Interpolated modified Kneser-Ney of order 5 over the tokens of
configs/quickstart_causal.py, which it may be compared with: 1.622 bits per byte
and perplexity 99.1 on the validation split, in 7 seconds of processor time. The
documentation says much of itself again, which an n-gram model keeps by heart.

ctxlm sweep configs/ngram.py --workdir runs/orders --over model.order=1,2,3,5 \
  --over model.estimator=modified_kneser_ney,witten_bell --seeds=1
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 0  # it is counted
  c.batch_size = 4
  c.max_length = 4096  # of rows, where what a model is judged on is cut
  c.tokenizer.vocab_size = 4096
  c.model = {'name': 'ngram', 'order': 5, 'estimator': 'modified_kneser_ney'}
  c.tasks.text = common.task({'name': 'corpus'}, {'name': 'causal'})
  c.evaluators.perplexity = {'name': 'perplexity'}
  return c
