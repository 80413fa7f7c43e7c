"""Whether arrays fit the memory there is, from their shapes alone."""

import math
import os
import resource
import sys
from pathlib import Path

import jax

from ctxlm.errors import UserError

LIMITS = (  # of the processes of a container: cgroups 2 and 1
  Path('/sys/fs/cgroup/memory.max'),
  Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
)


def check(what, tree, advice):
  """Raises UserError if a tree's arrays can't be, all at once.

  Args:
    what: they are, in words.
    tree: of jax.ShapeDtypeStruct or arrays; a leaf that has a sharding is on
      its devices, any other is whole on one.
    advice: what to do, in words.
  """
  need, have = per_device(tree), capacity()
  if need > have:
    raise UserError(
      f'{what} takes {size(need)} of memory on each device, which has '
      f'{size(have)}: {advice}'
    )


def per_device(tree):
  """Returns the bytes of a tree's arrays on one of their devices."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    shape, sharding = leaf.shape, getattr(leaf, 'sharding', None)
    if sharding is not None:
      shape = sharding.shard_shape(shape)
    total += math.prod(shape) * leaf.dtype.itemsize
  return total


def capacity():
  """Returns the bytes of memory of one device; CPUs share the machine's."""
  device = jax.local_devices()[0]
  stats = device.memory_stats() or {}
  return stats.get('bytes_limit', machine() // jax.local_device_count())


def machine():
  """Returns the bytes of memory that this process may have."""
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  said = [path.read_text().strip() for path in LIMITS if path.is_file()]
  return min([total, *(int(x) for x in said if x.isdigit())])


def peak():
  """Returns (name, bytes) of the most memory that was had at once.

  It is 'peak_device_gib', of the device of this process that had the most,
  where its allocator counts, and 'peak_process_gib', of this process without
  those that it started, where it does not, as on a CPU.
  """
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  counted = [s['peak_bytes_in_use'] for s in stats if 'peak_bytes_in_use' in s]
  if counted:
    return 'peak_device_gib', max(counted)
  unit = 1 if sys.platform == 'darwin' else 1024  # see getrusage(2)
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return 'peak_process_gib', usage.ru_maxrss * unit


def size(count):
  """Returns a number of bytes in words.

  >>> size(3 * 2**29)
  '1.5 GiB'
  """
  if count >= 1000 * 2**30:
    return f'{count / 2**40:,.1f} TiB'
  return f'{count / 2**30:,.1f} GiB'
