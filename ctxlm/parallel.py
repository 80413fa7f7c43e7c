"""Where a step runs: pmap with replicated parameters, or a mesh.

Both give the same four things, and nothing above knows which it has:

    rows(batch_size)  the global batch's rows that this process loads
    put(batch)        those rows, on the devices
    init(function)    the state, placed
    compile(function) `function(state, batch, *whole, axis)`, jitted
"""

import functools
import os
import re

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.data.cache import cache_dir
from ctxlm.errors import UserError
from ctxlm.optim import path_name

AXES = ('data', 'fsdp', 'tensor', 'sequence')

# The one table of parameter sharding: the first pattern found in a
# parameter's path gives its last axes' mesh axes. An axis that doesn't divide
# stays whole. Stacked layers (scan) have one more axis in front, never cut.
RULES = (
  (r'token_embed/embedding$', ('tensor', 'fsdp')),
  (r'(query|key|value)/kernel$', ('fsdp', 'tensor', None)),
  (r'(query|key|value)/bias$', ('tensor', None)),
  (r'out/kernel$', ('tensor', None, 'fsdp')),
  (r'(up|gate)/kernel$', ('fsdp', 'tensor')),
  (r'(up|gate)/bias$', ('tensor',)),
  (r'down/kernel$', ('tensor', 'fsdp')),
  (r'lm_head/kernel$', ('fsdp', 'tensor')),
  (r'kernel$', ('fsdp', None)),
  (r'embedding$', (None, 'fsdp')),
)


def make(config, devices=None):
  """Returns the Pmap or Mesh of `config.parallel`.

  Args:
    config: the whole config.
    devices: None is all devices of all processes.

  Raises:
    UserError: if the axes don't multiply to the devices, or the batch can't
      be divided.
  """
  p = config.parallel
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  sizes = [p[a] for a in AXES]
  if p.strategy == 'pmap':
    if sizes[0] not in (-1, count) or any(s != 1 for s in sizes[1:]):
      raise UserError(
        f'config.parallel: pmap runs on all {count} devices with parameters '
        "replicated; for other axes use config.parallel.strategy='mesh'"
      )
    where = Pmap(devices)
  else:
    if sizes.count(-1) > 1 or any(s < 1 and s != -1 for s in sizes):
      raise UserError(
        'config.parallel: axes are positive; one of them may be -1'
      )
    known = int(np.prod([s for s in sizes if s != -1]))
    if -1 in sizes:
      sizes[sizes.index(-1)] = count // known if count % known == 0 else 0
    if int(np.prod(sizes)) != count:
      axes = ', '.join(f'{a}={p[a]}' for a in AXES)
      raise UserError(
        f'config.parallel: axes {axes} do not multiply to {count} devices'
      )
    where = Mesh(sizes, devices)
    if config.max_length % sizes[3]:
      raise UserError(
        f'config.max_length={config.max_length} is not divisible by '
        f'config.parallel.sequence={sizes[3]}'
      )
  shards = where.shards
  parts = shards * config.accumulation
  if config.batch_size % parts:
    raise UserError(
      f'config.batch_size={config.batch_size} is not divisible by {shards} '
      f'devices x {config.accumulation} micro-batches: '
      f'use a multiple of {parts}'
    )
  return where


def start(coordinator=None, num_processes=None, process_id=None):
  """Joins the other processes, and turns the compilation cache on.

  Args:
    coordinator, num_processes, process_id: as jax.distributed.initialize;
      all None is one process, or on TPU VMs as many as there are hosts.

  Raises:
    UserError: some are given and some are not.
  """
  asked = (coordinator, num_processes, process_id)
  if any(x is not None for x in asked):
    if any(x is None for x in asked):
      raise UserError(
        '--coordinator, --num_processes and --process_id belong together'
      )
    jax.distributed.initialize(*asked)
  elif _on_tpu_pod():
    jax.distributed.initialize()
  jax.config.update('jax_compilation_cache_dir', str(cache_dir() / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def simulated():
  """Whether the devices are parts of one CPU.

  Collectives of several programs in flight can dead-lock there, so each is
  to be waited for.
  """
  return jax.default_backend() == 'cpu' and jax.device_count() > 1


def _on_tpu_pod():
  # As set by the TPU VM image; the other ways to start name a coordinator.
  return len(os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1


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

  def shardings(self, shapes):
    """Returns the tree's shardings: everything replicated."""
    whole = NamedSharding(self.mesh, P())
    return jax.tree.map(lambda _: whole, shapes)

  def init(self, function, *args):
    """Returns `function(*args)`, replicated."""
    shapes = jax.eval_shape(function, *args)
    return jax.jit(function, out_shardings=self.shardings(shapes))(*args)

  def compile(self, function, donate=False, whole=0):
    """Returns the compiled `function(state, batch, *whole, axis=...)`.

    `whole` counts the arguments that every device gets as they are.
    """
    call = jax.pmap(
      functools.partial(function, axis=self.axis),
      axis_name=self.axis,
      devices=self.devices,
      in_axes=(None, 0) + (None,) * whole,
      out_axes=None,
      donate_argnums=(0,) if donate else (),
    )
    if jax.process_count() == 1:
      return call
    return lambda *args: self._joined(call(*args))

  def _joined(self, tree):
    # pmap gives each process arrays of its own; Orbax saves arrays that all
    # processes have in common.
    whole = NamedSharding(self.mesh, P())

    def one(x):
      parts = [shard.data for shard in x.addressable_shards]
      return jax.make_array_from_single_device_arrays(x.shape, whole, parts)

    return jax.tree.map(one, tree)


class Mesh:
  """`jax.jit` over the mesh (data, fsdp, tensor, sequence)."""

  axis = None

  def __init__(self, sizes, devices):
    self.mesh = jax.make_mesh(
      tuple(sizes),
      AXES,
      devices=devices,
      axis_types=(jax.sharding.AxisType.Auto,) * len(AXES),
    )
    self.shards = sizes[0] * sizes[1]

  def _batch_sharding(self, shape):
    spec = [('data', 'fsdp')]
    sequence = self.mesh.shape['sequence']
    if len(shape) > 1 and sequence > 1 and shape[1] % sequence == 0:
      spec.append('sequence')
    return NamedSharding(self.mesh, P(*spec))

  def rows(self, batch_size):
    """Returns the rows of the global batch that this process holds."""
    places = self._batch_sharding((batch_size,))
    slices = places.addressable_devices_indices_map((batch_size,)).values()
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

  def _processes_apart(self, local):
    # How many times larger the global batch is than this process's rows.
    shards = self.mesh.shape['data'] * self.mesh.shape['fsdp']
    probe = shards
    return probe // len(self.rows(probe))

  def shardings(self, shapes):
    """Returns each leaf's sharding by RULES."""
    return jax.tree_util.tree_map_with_path(self._sharding, shapes)

  def _sharding(self, path, leaf):
    name, shape = path_name(path), leaf.shape
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
    """Returns the compiled `function(state, batch, *whole, axis=None)`."""
    del whole  # jit needs no telling
    whole = NamedSharding(self.mesh, P())
    compiled = {}

    def call(state, batch, *whole_):
      if not compiled:
        with jax.set_mesh(self.mesh):
          shapes = jax.eval_shape(
            functools.partial(function, axis=None), state, batch, *whole_
          )
        # A training step gives back (state, metrics): the state stays where
        # it is. Everything else is small and goes to every device.
        out = jax.tree.map(lambda _: whole, shapes)
        if donate:
          placed = jax.tree.map(lambda x: x.sharding, state)
          out = (placed, out[1])
        compiled['step'] = jax.jit(
          functools.partial(function, axis=None),
          out_shardings=out,
          donate_argnums=(0,) if donate else (),
        )
      # Pallas kernels look for the mesh, see ctxlm.attention.
      with jax.set_mesh(self.mesh):
        return compiled['step'](state, batch, *whole_)

    return call
