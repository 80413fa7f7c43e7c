"""Random numbers and draws, a function of (seed, sample, step) only.

So a sample is the same whatever batch and number of devices it is drawn in.
"""

import jax
import jax.numpy as jnp

from ctxlm.decoding import ranking

BLOCK = 128


def keys(text, salt=0):
  """Returns each row's key at its present length.

  Args:
    text: Text.
    salt: int; another stream for another use at the same step.
  """

  def one(index, new):
    key = jax.random.fold_in(jax.random.key(text.seed), index)
    return jax.random.fold_in(jax.random.fold_in(key, new), salt)

  return jax.vmap(one)(text.index, text.new)


def uniform(keys):
  """Returns a number in [0, 1) of each key: float32 [n]."""
  return jax.vmap(jax.random.uniform)(keys)


def categorical(logits, u):
  """Returns int32 [n] drawn from softmax(logits).

  The first token at which the cumulative probability is above u. Sums are of
  blocks first, which costs a pass over the vocabulary, where noise for each
  of its tokens (the Gumbel trick) costs a hash and two logarithms a token.

  Args:
    logits: float32 [n, v]; -inf is never drawn.
    u: float32 [n], uniform in [0, 1).
  """
  weights = jnp.exp(logits - logits.max(-1, keepdims=True))
  return choose(weights, u)


def choose(weights, u):
  """Returns int32 [n] drawn in proportion to weights float32 [n, v]."""
  n, v = weights.shape
  weights = jnp.pad(weights, [(0, 0), (0, -v % BLOCK)]).reshape(n, -1, BLOCK)
  sums = weights.sum(-1)
  cumulative = jnp.cumsum(sums, axis=1)
  left = u * cumulative[:, -1]
  block = _first_above(cumulative, left, sums)
  before = jnp.take_along_axis(cumulative - sums, block[:, None], 1)[:, 0]
  inside = jnp.take_along_axis(weights, block[:, None, None], 1)[:, 0]
  place = _first_above(jnp.cumsum(inside, axis=1), left - before, inside)
  return (block * BLOCK + place).astype(jnp.int32)


def _first_above(cumulative, left, weights):
  # Rounding may put `left` past the end: then it is the last of any weight.
  place = (cumulative <= left[:, None]).sum(1)
  size = weights.shape[1]
  last = size - 1 - jnp.argmax(weights[:, ::-1] > 0, axis=1)
  return jnp.minimum(place, last)


def without_replacement(logits, keys, count):
  """Returns (logits, indices) [n, count], drawn one after another.

  The Gumbel top-k trick (Kool et al. 2019, arXiv:1903.06059): the order is
  that of draws, each without those before it.
  """
  noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[1:]))(keys)
  _, index = ranking.top(logits + noise, count)
  return jnp.take_along_axis(logits, index, axis=1), index
