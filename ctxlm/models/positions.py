"""Position schemes, as pure functions of arrays."""

import jax.numpy as jnp
import numpy as np

SCHEMES = ('learned', 'sinusoidal', 'rotary', 'alibi', 't5', 'none')


def sinusoidal(positions, hidden_size):
  """Returns sines and cosines, float32 [..., m].

  PE(p, 2i) = sin(p / 10000^(2i/m)), PE(p, 2i+1) = cos of the same (Vaswani et
  al. 2017, section 3.5).

  Args:
    positions: int [...].
    hidden_size: m, even.

  >>> np.asarray(sinusoidal(jnp.arange(2), 4), float).round(2).tolist()
  [[0.0, 1.0, 0.0, 1.0], [0.84, 0.54, 0.01, 1.0]]
  """
  rate = 10000.0 ** (-jnp.arange(0, hidden_size, 2) / hidden_size)
  angle = positions[..., None].astype(jnp.float32) * rate
  both = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
  return both.reshape(*positions.shape, hidden_size)


def rotary(x, positions, base=10000.0):
  """Rotates each head's halves by the position's angles.

  RoFormer (Su et al. 2021, arXiv:2104.09864), with dimension i paired with
  i + d/2 as LLaMA's checkpoints have it.

  Args:
    x: [b, l, h, d], d even.
    positions: int [b or 1, l].
    base: of the wavelengths.

  >>> x = rotary(jnp.ones((1, 2, 1, 2)), jnp.arange(2)[None])
  >>> np.asarray(x, float).round(2).tolist()
  [[[[1.0, 1.0]], [[-0.3, 1.38]]]]
  """
  half = x.shape[-1] // 2
  rate = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[..., None].astype(jnp.float32) * rate
  sin, cos = jnp.sin(angle)[:, :, None], jnp.cos(angle)[:, :, None]
  a, b = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
  out = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return out.astype(x.dtype)


def alibi_slopes(num_heads):
  """Returns ALiBi's slope of each head, numpy float32 [h].

  A geometric sequence from 2^(-8/n); for a number of heads that is no power
  of two, the nearest lower one's, then every other of the next (Press et al.
  2022, arXiv:2108.12409, section 3 and its code).

  >>> alibi_slopes(4).tolist()
  [0.25, 0.0625, 0.015625, 0.00390625]
  """

  def powers(n):
    return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]

  lower = 2 ** int(np.log2(num_heads))
  slopes = powers(lower) + powers(2 * lower)[0::2][: num_heads - lower]
  return np.array(slopes, np.float32)


def relative(q_length, k_length):
  """Returns key's place minus query's, the last ones aligned: int32 [q, k].

  Distances are of places in the row: within a packed document they equal
  those of its own positions, and across documents nothing is seen.

  >>> relative(2, 3).tolist()
  [[-1, 0, 1], [-2, -1, 0]]
  """
  offset = k_length - q_length
  return jnp.arange(k_length)[None] - (jnp.arange(q_length) + offset)[:, None]


def alibi(num_heads, relative):
  """Returns ALiBi's bias -slope * |distance|, float32 [..., h, q, k].

  Args:
    num_heads: h.
    relative: int [..., q, k], key's place minus query's.

  >>> alibi(1, relative(1, 3)).tolist()
  [[[-0.0078125, -0.00390625, -0.0]]]
  """
  distance = jnp.abs(relative)[..., None, :, :].astype(jnp.float32)
  return -alibi_slopes(num_heads)[:, None, None] * distance


def t5_buckets(relative, *, bidirectional, num_buckets=32, max_distance=128):
  """Returns T5's bucket of each relative position, int32 [..., q, k].

  Raffel et al. 2020, section 2.1: half of the buckets for exact distances,
  the other half logarithmic up to `max_distance`.

  Args:
    relative: int [..., q, k], key's place minus query's.
    bidirectional: whether keys after the query have buckets of their own.
    num_buckets, max_distance: as above.

  >>> t5_buckets(relative(1, 4), bidirectional=False).tolist()
  [[3, 2, 1, 0]]
  """
  bucket = 0
  if bidirectional:
    num_buckets //= 2
    bucket = jnp.where(relative > 0, num_buckets, 0)
    distance = jnp.abs(relative)
  else:
    distance = jnp.maximum(-relative, 0)
  exact = num_buckets // 2
  ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact)
  far = exact + (
    ratio / np.log(max_distance / exact) * (num_buckets - exact)
  ).astype(jnp.int32)
  far = jnp.minimum(far, num_buckets - 1)
  return bucket + jnp.where(distance < exact, distance, far)
