"""The processes of a run, and the devices that they simulate."""

import os
import warnings

import jax

from ctxlm.errors import UserError
from ctxlm.files import cache_dir


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
  # A cache that can't be written to, as on a full disk, is done without.
  warnings.filterwarnings('ignore', '.*persistent compilation cache')
  jax.config.update('jax_compilation_cache_dir', str(cache_dir() / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def settled(out):
  """Returns a program's results; if devices are parts of one CPU, waits first.

  Collectives of several programs in flight can dead-lock there.
  """
  if jax.default_backend() == 'cpu' and jax.device_count() > 1:
    jax.block_until_ready(out)
  return out


def barrier(name):
  """Waits for the other processes."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def _on_tpu_pod():
  # As set by the TPU VM image; the other ways to start name a coordinator.
  return len(os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1
