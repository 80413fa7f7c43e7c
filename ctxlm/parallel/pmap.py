"""Parameters replicated on every device."""

import functools

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.parallel.compiled import Compiled


class Pmap:
  """`jax.pmap` over all devices; the state is one replicated array a leaf."""

  axis = 'data'

  def __init__(self, devices):
    self.devices = devices
    self.shards = len(devices)  # parts that a batch is cut into
    self.mesh = jax.sharding.Mesh(np.array(devices), ('data',))

  def rows(self, batch_size):
    """Returns the rows of the global batch that this process holds."""
    local = batch_size // jax.process_count()
    return np.arange(local) + jax.process_index() * local

  def put(self, batch):
    """Splits rows [b, ...] over the local devices: [devices, b/devices, ..]."""
    count = len(self.mesh.local_devices)
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)

  def put_shapes(self, batch):
    """See placement.Placement."""

    def one(x):
      shape = (self.shards, x.shape[0] // self.shards, *x.shape[1:])
      return jax.ShapeDtypeStruct(shape, x.dtype)

    return jax.tree.map(one, batch)

  def shardings(self, shapes):
    """Returns the tree's shardings: everything replicated."""
    whole = NamedSharding(self.mesh, P())
    return jax.tree.map(lambda _: whole, shapes)

  def init(self, function, *args):
    """Returns `function(*args)`, replicated."""
    shapes = jax.eval_shape(function, *args)
    return jax.jit(function, out_shardings=self.shardings(shapes))(*args)

  def compile(self, function, donate=False, whole=0):
    """See placement.Placement."""
    call = jax.pmap(
      functools.partial(function, axis=self.axis),
      axis_name=self.axis,
      devices=self.devices,
      in_axes=(None, 0) + (None,) * whole,
      out_axes=None,
      donate_argnums=(0,) if donate else (),
    )
    return Compiled(call.lower, lambda *args: self._joined(call(*args)))

  def _joined(self, tree):
    if jax.process_count() == 1:
      return tree
    # pmap gives each process arrays of its own; Orbax saves arrays that all
    # processes have in common.
    whole = NamedSharding(self.mesh, P())

    def one(x):
      parts = [shard.data for shard in x.addressable_shards]
      return jax.make_array_from_single_device_arrays(x.shape, whole, parts)

    return jax.tree.map(one, tree)
