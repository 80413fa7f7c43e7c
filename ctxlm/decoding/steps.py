"""Step functions, `step(tokens [n, t], cache) -> logits [n, t, v], cache`."""

from typing import Any

import jax
from flax import struct


class Guided(struct.PyTreeNode):
  """The caches of classifier-free guidance: with the prompt, and without."""

  prompted: Any
  without: Any

  def take(self, rows):
    """See ctxlm.decoding.Cache."""
    return Guided(self.prompted.take(rows), self.without.take(rows))


def guide(logits, without, scale):
  """Returns classifier-free guidance's logits of two [..., v].

  log p' = log p(x | without) + scale * (log p(x | c) - log p(x | without))
  (Ho & Salimans 2022; of language models, Sanchez et al. 2023,
  arXiv:2306.17806, equation 7).
  """
  logits, without = (jax.nn.log_softmax(x) for x in (logits, without))
  return without + scale * (logits - without)


def guided(step, scale):
  """Returns the step of a Guided cache."""

  def both(tokens, caches):
    logits, prompted = step(tokens, caches.prompted)
    other, without = step(tokens, caches.without)
    return guide(logits, other, scale), Guided(prompted, without)

  return both
