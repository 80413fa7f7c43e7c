"""The greatest few of a vocabulary."""

import jax
import jax.numpy as jnp

BLOCK = 64


def top(x, count):
  """Returns (values, indices) [n, count] of the greatest, greatest first.

  As jax.lax.top_k, whose pass over a whole vocabulary takes a CPU up to three
  times longer: the greatest `count` numbers lie in the `count` blocks with the
  greatest maxima. Which of several equal numbers is taken is not defined.

  Args:
    x: float [n, v].
    count: int, at most v.
  """
  n, v = x.shape
  if v <= 2 * count * BLOCK:
    return _top(x, count)
  blocks = jnp.pad(x, [(0, 0), (0, -v % BLOCK)], constant_values=-jnp.inf)
  blocks = blocks.reshape(n, -1, BLOCK)
  _, chosen = jax.lax.top_k(blocks.max(-1), count)
  # In order, so that the padding, which is last, loses to what equals it.
  chosen = jnp.sort(chosen, axis=1)
  few = jnp.take_along_axis(blocks, chosen[..., None], axis=1)
  values, place = _top(few.reshape(n, -1), count)
  block = jnp.take_along_axis(chosen, place // BLOCK, axis=1)
  return values, block * BLOCK + place % BLOCK


def _top(x, count):
  # XLA would sort all of x if nothing but the values were wanted.
  _, index = jax.lax.top_k(x, count)
  return jnp.take_along_axis(x, index, axis=1), index
