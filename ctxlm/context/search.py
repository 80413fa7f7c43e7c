"""Exact search for the nearest keys, by blocks, on any device.

    |h - k|^2 = |h|^2 - (2 h . k - |k|^2)

A block's scores, in brackets, are one matrix product; the best so far and the
block's best make the next best. The keys are read where they lie: on a CPU that
is the file itself, mapped into memory. On a TPU a block's best are those of
`jax.lax.approx_max_k`, of whose k some 5 % may be others.
"""

import jax
import jax.numpy as jnp

BLOCK = 2**14  # keys at a time
QUERIES = 2**8  # states at a time: their scores of a block are 16 MB


def nearest(keys, norms, states, k):
  """Returns (squared distances float32 [q, k], places int32 [q, k]).

  The nearest come first; of fewer than k keys, all of them.

  Args:
    keys: [n, m].
    norms: float32 [n], the squares of the keys' lengths.
    states: float32 [q, m].
    k: int.
  """
  count, width = len(states), states.shape[1]
  size = min(QUERIES, count)
  padded = jnp.pad(states, [(0, -count % size), (0, 0)])
  scores, places = jax.lax.map(
    lambda some: _best(keys, norms, some, min(k, len(norms))),
    padded.reshape(-1, size, width),
  )
  scores, places = (x.reshape(-1, x.shape[-1]) for x in (scores, places))
  squares = jnp.square(states).sum(axis=1, keepdims=True)
  return jnp.maximum(squares - scores[:count], 0.0), places[:count]


def _best(keys, norms, states, k):
  size = min(BLOCK, len(norms))

  def block(i, best):
    # The last one begins early enough to be whole; what it repeats is left out.
    start = jnp.minimum(i * size, len(norms) - size)
    own = jax.lax.dynamic_slice_in_dim(keys, start, size)
    squares = jax.lax.dynamic_slice_in_dim(norms, start, size)
    scores = jnp.einsum(
      'qm,km->qk',
      states,
      own.astype(jnp.float32),
      precision=jax.lax.Precision.HIGHEST,
    )
    scores = 2 * scores - squares
    place = start + jnp.arange(size)
    scores = jnp.where(place >= i * size, scores, -jnp.inf)
    top, at = _top(scores, min(k, size))
    scores = jnp.concatenate([best[0], top], axis=1)
    places = jnp.concatenate([best[1], start + at], axis=1)
    top, at = jax.lax.top_k(scores, k)
    return top, jnp.take_along_axis(places, at, axis=1)

  shape = len(states), k
  nothing = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
  return jax.lax.fori_loop(0, -(-len(norms) // size), block, nothing)


def _top(scores, k):
  def exact(x):
    return jax.lax.top_k(x, k)

  def approximate(x):
    return jax.lax.approx_max_k(x, k)

  return jax.lax.platform_dependent(scores, tpu=approximate, default=exact)
