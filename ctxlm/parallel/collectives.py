"""Sums and joins over the devices of a pmap axis; nothing where none is."""

import jax


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
