"""The table of chips, beside the one that JAX has for its kernels."""

import pytest
from jax._src.pallas.mosaic import tpu_info

from ctxlm.parallel import chips

TPUS = [kind for kind in chips.CHIPS if kind.startswith('TPU')]


@pytest.mark.parametrize('kind', TPUS)
def test_tpus_are_what_jax_takes_them_for(kind):
  chip = chips.of(kind)
  version = tpu_info.chip_version_from_device_kind(kind)
  core = tpu_info._get_tpu_info_impl(version, 1)
  cores = 2 if version.supports_megacore else 1  # of a device
  for ours, theirs, within in (
    (chip.flops, core.bf16_ops_per_second, 0.13),
    (chip.hbm_bytes, core.hbm_capacity_bytes, 0.02),
    (chip.hbm_rate, core.mem_bw_bytes_per_second, 0.13),
  ):
    assert ours == pytest.approx(cores * theirs, rel=within)


def test_a_chip_of_nobody_is_none():
  assert chips.of('cpu') is None
