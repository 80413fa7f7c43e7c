"""Devices that are not here: slices of TPUs; and GPUs, as so many CPUs."""

import importlib.util
import os
import re

import jax

from ctxlm.errors import UserError, reason
from ctxlm.parallel import chips

# What slices are called, and JAX's names of their devices.
TPUS = {
  'v4': 'TPU v4',
  'v5e': 'TPU v5e',
  'v5p': 'TPU v5p',
  'v6e': 'TPU v6e',
}
GPUS = {
  'a100-40gb': 'NVIDIA A100-SXM4-40GB',
  'a100-80gb': 'NVIDIA A100-SXM4-80GB',
  'h100': 'NVIDIA H100 80GB HBM3',
  'h200': 'NVIDIA H200',
}
NODE = 8  # GPUs that NVLink joins
# Unless these are set, libtpu asks the machine which TPU it is of, and lets one
# process alone use it.
NO_TPU = {
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_ACCELERATOR_TYPE': 'v4-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_MIN_LOG_LEVEL': '3',
  'TF_CPP_MIN_LOG_LEVEL': '3',
}
INSTALL = "pip install 'ctxlm[plan]'"


def describe(name, slices=1):
  """Returns (devices, chips.Chip) of what need not be here.

  Call it before anything else of JAX: GPUs are simulated by as many CPUs.

  Args:
    name: 'v5e:16x16', a kind of TPUS and its chips along each axis of the
      torus; or 'h100:8', a kind of GPUS and how many.
    slices: how many such slices of TPUs.

  Raises:
    UserError: no such slice, or libtpu is not there, or another one.
  """
  kind, _, size = name.lower().partition(':')
  if kind in GPUS and re.fullmatch(r'[1-9]\d{0,4}', size):
    return _cpus(int(size) * slices), chips.of(GPUS[kind])
  if kind not in TPUS or not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){1,2}', size):
    kinds = ', '.join((*TPUS, *GPUS))
    raise UserError(
      f'--topology={name}: say a kind and a size, such as v5e:16x16, v5p:8x8x8 '
      f'or h100:8; kinds are {kinds}'
    )
  return _tpus(kind, size, slices), chips.of(TPUS[kind])


def _tpus(kind, size, slices):
  if importlib.util.find_spec('libtpu') is None:
    raise UserError(
      f'no libtpu, which compiles for TPUs that are not here: {INSTALL}'
    )
  from jax.experimental import topologies

  for variable, value in NO_TPU.items():
    os.environ.setdefault(variable, value)
  axes = [min(2, int(n)) for n in size.split('x')][:2]
  options = {'chips_per_host_bounds': (*axes, 1)}
  if kind == 'v4':  # whose chips are one device each, of two cores
    options['chip_config_name'] = 'megacore'
  if slices > 1:
    options['num_slices'] = slices
  try:
    found = topologies.get_topology_desc(
      topology_name=f'{kind}:{size}', platform='tpu', **options
    )
  except Exception as e:  # of whichever kind libtpu, or JAX without it, raises
    raise UserError(
      f'--topology={kind}:{size}: libtpu has no such slice, or is not the one '
      f'that this JAX needs ({INSTALL}): {reason(e)}'
    ) from e
  return list(found.devices)


def _cpus(count):
  try:
    if len(jax.devices('cpu')) < count:
      raise RuntimeError
  except RuntimeError as e:
    raise UserError(
      f'{count} GPUs are simulated by as many CPU devices, and JAX has fewer: '
      f'XLA_FLAGS=--xla_force_host_platform_device_count={count}'
    ) from e
  return jax.devices('cpu')[:count]


def simulate(name, slices=1):
  """Lets JAX have as many CPU devices as a topology of GPUs needs, if it may.

  Nothing has been done with JAX before, or this does nothing.
  """
  jax.config.update('jax_platforms', 'cpu')
  kind, _, size = name.lower().partition(':')
  if kind in GPUS and size.isdecimal():
    try:
      jax.config.update('jax_num_cpu_devices', int(size) * slices)
    except RuntimeError:
      return
