"""Sums and joins over the devices of a pmap axis; nothing where none is."""

import jax
import jax.numpy as jnp


def psum(tree, axis):
  """Returns the sum over devices; the tree itself where there is no axis."""
  return tree if axis is None else jax.lax.psum(tree, axis)


def gather(tree, axis):
  """Returns [b, ...] arrays of all devices, joined along the first axis."""
  if axis is None:
    return tree
  return jax.tree.map(
    lambda x: jax.lax.all_gather(x, axis, axis=0, tiled=True), tree
  )


def own_rows(tree, index, axis):
  """Returns this device's rows [b, ...] of arrays [B, ...] of all devices'.

  Args:
    tree: of arrays.
    index: int32 [b], the rows' places in the global batch.
    axis: as above.
  """
  return tree if axis is None else jax.tree.map(lambda x: x[index], tree)


def whole_rows(tree, index, axis):
  """Returns the arrays of which `own_rows` gives each device its part."""
  if axis is None:
    return tree
  order = jnp.argsort(gather(index, axis))
  return jax.tree.map(lambda x: x[order], gather(tree, axis))
