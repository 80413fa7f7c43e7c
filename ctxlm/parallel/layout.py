"""Where a compiled function's arrays lie on a mesh, seen from inside it."""

import math

import jax
from jax.sharding import PartitionSpec as P

ROWS, PLACES, WIDTH = ('data', 'fsdp'), ('sequence',), ()
HEADS = ('tensor', 'sequence')


def devices(axes):
  """Returns among how many devices some axes of the mesh divide arrays.

  1 where there is no mesh, or what is asked is of one of its devices.
  """
  mesh = jax.sharding.get_abstract_mesh()
  return math.prod(mesh.shape[a] for a in axes) if mesh.auto_axes else 1


def platform():
  """Returns that of the devices compiled for, which need not be here."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def by_rows(x):
  """Returns x [b, l, ...] cut as the batch is, and whole along other axes.

  Where parameters are cut over a mesh, XLA, unless it is told, may cut hidden
  states along with them in place of gathering parameters, and send activations
  that are larger. Elsewhere x is as it was.
  """
  return _cut(x, ROWS, PLACES)


def by_heads(x):
  """Returns x [b, l, h, d] cut by rows and by heads, and not by places."""
  return _cut(x, ROWS, WIDTH, HEADS)


def by_parts(x):
  """Returns x [b, l, h, d] cut by rows, places and heads."""
  return _cut(x, ROWS, PLACES, ('tensor',))


def by_entries(table):
  """Returns embeddings [v, m] cut by v, and m whole, for looking up rows."""
  return _cut(table, ('tensor',))


def _cut(x, *axes):
  if not jax.sharding.get_abstract_mesh().auto_axes:
    return x
  spec = [
    names if size % devices(names) == 0 else None
    for size, names in zip(x.shape, axes, strict=False)
  ]
  return jax.lax.with_sharding_constraint(x, P(*spec))
