"""Checksums of arrays: Orbax doesn't notice bits that changed on the disk."""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import trees


def of(tree):
  """Returns {path: int} of a tree of arrays, however they are placed."""
  sums = trees.of_leaves(trees.flatten(tree), _checksums, _on_host)
  return {name: int(sum_) for name, sum_ in sums.items()}


@jax.jit
def _checksums(leaves):
  # One program for all: simulated devices can dead-lock on several at once.
  return {name: _checksum(x) for name, x in leaves.items()}


def _checksum(x):
  # The sum of each element's bits times 2 i + 1, modulo 2^32: an odd factor
  # is invertible, so one changed element always shows. A sum of integers is
  # the same in any order, so on any number of devices.
  if x.dtype == bool:
    x = x.astype(jnp.uint8)
  unsigned = UNSIGNED[x.dtype.itemsize]
  bits = jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)
  index, stride = jnp.zeros(x.shape, jnp.uint32), 1
  for axis in reversed(range(x.ndim)):
    place = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    index += place * jnp.uint32(stride % 2**32)
    stride *= x.shape[axis]
  return (bits * (2 * index + 1)).sum(dtype=jnp.uint32)


def _on_host(x):
  # The same of a numpy array.
  bits = x.ravel().view(UNSIGNED[x.dtype.itemsize]).astype(np.uint32)
  index = np.arange(bits.size, dtype=np.uint32)
  return (bits * (2 * index + 1)).sum(dtype=np.uint32)


UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}  # by bytes


def verify(tree, saved):
  """Raises ValueError, with its name, for an array that isn't what was saved.

  Args:
    tree: of arrays.
    saved: what `of` gave of it.
  """
  for name, value in of(tree).items():
    if saved[name] != value:
      raise ValueError(f'{name} is not what was saved')
