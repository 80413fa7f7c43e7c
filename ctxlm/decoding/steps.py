"""Step functions, `step(tokens [n, t], cache) -> logits [n, t, v], cache`.

A strategy knows nothing else of a model. A cache is a pytree whose leaves
have n rows, or an object with methods of its own, as ctxlm.models.cache.
"""

import jax


def take(cache, rows):
  """Returns the cache whose row i goes on from row `rows[i]` of this one."""
  return jax.tree.map(
    lambda x: x.take(rows) if hasattr(x, 'siblings') else x[rows],
    cache,
    is_leaf=lambda x: hasattr(x, 'siblings'),
  )


def guide(logits, without, scale):
  """Returns classifier-free guidance's logits of two [..., v].

  log p' = log p(x | without) + scale * (log p(x | c) - log p(x | without))
  (Ho & Salimans 2022; of language models, Sanchez et al. 2023,
  arXiv:2306.17806, equation 7).
  """
  logits, without = (jax.nn.log_softmax(x) for x in (logits, without))
  return without + scale * (logits - without)


def guided(step, scale):
  """Returns the step of a pair of caches: with the prompt, and without."""

  def both(tokens, caches):
    logits, cache = step(tokens, caches[0])
    without, other = step(tokens, caches[1])
    return guide(logits, without, scale), (cache, other)

  return both
