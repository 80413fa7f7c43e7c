"""Parameters sharded over a mesh of named axes."""

import functools
import math
import re

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.errors import UserError
from ctxlm.parallel.compiled import Compiled
from ctxlm.parallel.rules import ROWS, RULES
from ctxlm.trees import path_name

AXES = ('data', 'fsdp', 'tensor', 'sequence')


def _laid_out(sizes, devices):
  # Neighbours on an axis are neighbours in the torus of a TPU's slice; several
  # slices are apart on the data axis alone, along which the least is sent.
  devices = devices[: math.prod(sizes)]
  split = dict(devices=devices, allow_split_physical_axes=True)
  slices = len({getattr(d, 'slice_index', 0) for d in devices})
  if slices == 1:
    return mesh_utils.create_device_mesh(sizes, **split)
  data, *rest = sizes
  if data % slices:
    raise UserError(
      f'config.parallel.data={data} is not divisible by the {slices} slices, '
      'which are apart on that axis'
    )
  apart = (slices, *(1 for _ in rest))
  return mesh_utils.create_hybrid_device_mesh(
    (data // slices, *rest), apart, **split
  )


class Mesh:
  """`jax.jit` over the mesh (data, fsdp, tensor, sequence)."""

  axis = None

  def __init__(self, devices, *, data=1, fsdp=1, tensor=1, sequence=1):
    """Lays the devices out.

    Args:
      devices: list of jax devices, present or described by a topology; the
        first are taken, as many as it takes.
      data, fsdp, tensor, sequence: how many there are along each axis.
    """
    self.mesh = jax.sharding.Mesh(
      _laid_out((data, fsdp, tensor, sequence), devices),
      AXES,
      axis_types=(jax.sharding.AxisType.Auto,) * len(AXES),
    )
    self.shards = data * fsdp  # parts that a batch is cut into

  def _batch_sharding(self, shape):
    spec = [('data', 'fsdp')]
    sequence = self.mesh.shape['sequence']
    if len(shape) > 1 and sequence > 1 and shape[1] % sequence == 0:
      spec.append('sequence')
    return NamedSharding(self.mesh, P(*spec))

  def rows(self, batch_size):
    """Returns the rows of the global batch that this process holds."""
    sharding = self._batch_sharding((batch_size,))
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    everything = np.arange(batch_size)
    return np.unique(np.concatenate([everything[s] for s in slices]))

  def put(self, batch):
    """Makes global arrays [B, ...] of the rows that `rows` named."""

    def one(x):
      total = len(x) * self._processes_apart(len(x))
      rows = self.rows(total)
      shape = (total, *x.shape[1:])

      def read(index):
        wanted = np.arange(total)[index[0]]
        return x[np.searchsorted(rows, wanted)][(slice(None), *index[1:])]

      return jax.make_array_from_callback(
        shape, self._batch_sharding(shape), read
      )

    return jax.tree.map(one, batch)

  def put_shapes(self, batch):
    """See placement.Placement."""

    def one(x):
      sharding = self._batch_sharding(x.shape)
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(one, batch)

  def _processes_apart(self, local):
    # How many times larger the global batch is than this process's rows.
    return self.shards // len(self.rows(self.shards))

  def shardings(self, shapes):
    """Returns each leaf's sharding by RULES, and by ROWS."""
    return jax.tree_util.tree_map_with_path(self._sharding, shapes)

  def _sharding(self, path, leaf):
    name, shape = path_name(path), leaf.shape
    if name.startswith(ROWS):
      return self._batch_sharding(shape[:1])
    for pattern, axes in RULES:
      if re.search(pattern, name) and len(shape) >= len(axes):
        axes = (None,) * (len(shape) - len(axes)) + axes
        spec = [
          a if a and size % self.mesh.shape[a] == 0 else None
          for a, size in zip(axes, shape, strict=True)
        ]
        return NamedSharding(self.mesh, P(*spec))
    return NamedSharding(self.mesh, P())

  def init(self, function, *args):
    """Returns `function(*args)`, each leaf made in its shard."""
    shapes = jax.eval_shape(function, *args)
    return jax.jit(function, out_shardings=self.shardings(shapes))(*args)

  def compile(self, function, donate=False, whole=0):
    """See placement.Placement."""
    del whole  # jit needs no telling
    function = functools.partial(function, axis=None)
    replicated = NamedSharding(self.mesh, P())

    made = []

    def jitted(state):
      if not made:
        # A training step gives back (state, metrics): the state stays where
        # it is. Everything else is small and goes to every device.
        out = (self.shardings(state), replicated) if donate else replicated
        donated = (0,) if donate else ()
        made.append(
          jax.jit(function, out_shardings=out, donate_argnums=donated)
        )
      return made[0]

    # Pallas kernels look for the mesh, see ctxlm.models.attention.
    def lower(*args):
      with jax.set_mesh(self.mesh):
        return jitted(args[0]).lower(*args)

    def run(*args):
      with jax.set_mesh(self.mesh):
        return jitted(args[0])(*args)

    return Compiled(lower, run)
