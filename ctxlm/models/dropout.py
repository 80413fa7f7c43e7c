"""Dropout whose masks are functions of a key and a row's number."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def keep_mask(key, rows, shape, rate, *, first=None, whole=None):
  """Returns dropout's mask: bool `shape`, True where a value is kept.

  A stateless integer hash (multiply and shift, as in Wellons' lowbias32) of
  (key, row, element). Threefry would cost more than the layer on a CPU, and
  one draw for a whole batch would depend on how it is split.

  Args:
    key: uint32 [2].
    rows: int32 [b].
    shape: (b, ...).
    rate: share that is dropped, to 2^-32.
    first, whole: the mask is the part that begins at `first` (...) of one
      whose shape is (b, *whole); None is the whole one.
  """
  whole = shape[1:] if whole is None else whole
  first = (0,) * len(whole) if first is None else first
  rows = rows.astype(jnp.uint32)
  a = _mix(rows * GOLDEN + key[0])
  b = _mix(a ^ key[1])
  wide = (-1,) + (1,) * len(whole)
  index, stride = jnp.zeros(shape[1:], jnp.uint32), 1
  for axis in reversed(range(len(whole))):
    place = jax.lax.broadcasted_iota(jnp.uint32, shape[1:], axis)
    place = place + jnp.uint32(first[axis])
    index = index + place * jnp.uint32(stride % 2**32)
    stride *= whole[axis]
  # lowbias32 once more, with a second word of the key between its rounds, so
  # that two rows' streams are not one stream, shifted.
  x = index[None] * GOLDEN + a.reshape(wide)
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = ((x ^ (x >> 15)) + b.reshape(wide)) * jnp.uint32(0x846CA68B)
  x = x ^ (x >> 16)
  return x >= jnp.uint32(min(int(rate * 2**32), 2**32 - 1))


GOLDEN = np.uint32(0x9E3779B9)  # 2^32 / golden ratio: spreads neighbours


def _mix(x):
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)


def drop(x, keep, rate):
  """Returns x where `keep`, scaled so that its mean stays, else 0."""
  return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)


def of_weights(module, rows, rate, whole):
  """Returns the `dropout` of attention.attention.

  Args:
    module: the layer, whose key it is drawn by.
    rows: int32 [b], see Dropout.
    rate: share that is dropped.
    whole: (h, q, k), of which attention may give it parts.
  """
  key = jax.random.key_data(module.make_rng('dropout'))

  def dropout(weights, first):
    keep = keep_mask(
      key, rows, weights.shape, rate, first=(0, *first), whole=whole
    )
    return drop(weights, keep, rate)

  return dropout


class Dropout(nn.Module):
  """Drops values at `rate`, by key, row and element (Srivastava et al. 2014).

  `rows` int32 [b] of the global batch; None is deterministic. If `locked`, x is
  [b, l, m], and what is dropped is the same at all places of a row.
  """

  rate: float
  locked: bool = False

  @nn.compact
  def __call__(self, x, rows):
    if not self.rate or rows is None:
      return x
    key = jax.random.key_data(self.make_rng('dropout'))
    shape = (len(x), 1, x.shape[2]) if self.locked else x.shape
    return drop(x, keep_mask(key, rows, shape, self.rate), self.rate)
