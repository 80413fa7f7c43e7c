"""The placement that a config asks for."""

from typing import Protocol

import jax
import numpy as np

from ctxlm.errors import UserError
from ctxlm.parallel.mesh import AXES, Mesh
from ctxlm.parallel.pmap import Pmap


class Placement(Protocol):
  """Where arrays live and a step runs: pmap.Pmap or mesh.Mesh.

  Attributes:
    axis: name of the axis over which a function sees its part of the batch,
      or None where it sees the whole.
    shards: parts that a batch is cut into.
  """

  axis: str | None
  shards: int

  def rows(self, batch_size):
    """Returns the rows of the global batch that this process holds."""

  def put(self, batch):
    """Returns those rows [b, ...], on the devices."""

  def put_shapes(self, batch):
    """Returns the jax.ShapeDtypeStructs of what `put` makes of a global batch.

    Args:
      batch: tree of arrays or their shapes, [global batch size, ...].
    """

  def shardings(self, shapes):
    """Returns the tree of jax.sharding.Sharding of a tree of parameters."""

  def init(self, function, *args):
    """Returns the tree `function(*args)`, placed."""

  def compile(self, function, donate=False, whole=0):
    """Returns the Compiled `function(state, batch, *whole, axis=...)`.

    Args:
      function: it gives (state, anything) if `donate`.
      donate: whether the state that goes in is given up.
      whole: number of arguments that every device gets as they are.
    """


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
    placement = Pmap(devices)
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
    placement = Mesh(devices, **dict(zip(AXES, sizes, strict=True)))
    if config.max_length % sizes[3]:
      raise UserError(
        f'config.max_length={config.max_length} is not divisible by '
        f'config.parallel.sequence={sizes[3]}'
      )
  shards = placement.shards
  parts = shards * config.accumulation
  if config.batch_size % parts:
    raise UserError(
      f'config.batch_size={config.batch_size} is not divisible by {shards} '
      f'devices x {config.accumulation} micro-batches: '
      f'use a multiple of {parts}'
    )
  return placement
