"""What accelerators can do at most, by the name that JAX has for them.

The figures are of one JAX device, which is a chip, except that a chip of TPU v3
or TPU7x is two devices, each with half of it. They are what makers state, and
no program reaches all of them at once.
"""

import dataclasses

GIB = 2**30
# A chip's memory and speed, and links, were read in these places.
TPU_DOCS = 'docs.cloud.google.com/tpu/docs/'
BOOK = 'jax-ml.github.io/scaling-book/tpus'
NVIDIA = "NVIDIA's data sheet, dense, without sparsity, "


@dataclasses.dataclass(frozen=True)
class Chip:
  """A device.

  Attributes:
    name: what it is called.
    flops: bfloat16 multiplications and additions a second, of matrices.
    hbm_bytes: of its own memory.
    hbm_rate: bytes a second, between that memory and the chip.
    links: to other devices. Those of TPUs are a torus of links/2 axes, two to
      an axis; those of NVIDIA lead to a switch, so any other gets all of them.
    link_rate: bytes a second of a link, one way.
    source: where this was read.
    outside_rate: bytes a second to the network outside of the links, such as
      another slice's; 0 where no maker's page that was read states it.
  """

  name: str
  flops: float
  hbm_bytes: float
  hbm_rate: float
  links: int
  link_rate: float
  source: str
  outside_rate: float = 0.0

  @property
  def half(self):
    """Returns one of the two devices that this chip is; they share its links.

    A torus has both devices of a chip at each of its places.
    """
    return dataclasses.replace(
      self,
      flops=self.flops / 2,
      hbm_bytes=self.hbm_bytes / 2,
      hbm_rate=self.hbm_rate / 2,
      link_rate=self.link_rate / 2,
      outside_rate=self.outside_rate / 2,
    )


def _tpu(name, flops, gib, rate, links, link_rate, page, outside=0.0):
  source = f'{TPU_DOCS}{page}; links: {BOOK}'
  return Chip(name, flops, gib * GIB, rate, links, link_rate, source, outside)


def _gpu(name, flops, size, rate, links):
  source = f'{NVIDIA}{name}; a link of NVLink is 25 GB/s one way'
  return Chip(name, flops, size, rate, links, 25e9, source)


V3 = _tpu('TPU v3', 123e12, 32, 900e9, 4, 100e9, 'v3').half
V4 = _tpu('TPU v4', 275e12, 32, 1200e9, 6, 45e9, 'v4')
V5E = _tpu('TPU v5e', 197e12, 16, 819e9, 4, 45e9, 'v5e', 3.125e9)
V5P = _tpu('TPU v5p', 459e12, 95, 2765e9, 6, 90e9, 'v5p', 6.25e9)
V6E = _tpu('TPU v6e', 918e12, 32, 1638e9, 4, 90e9, 'v6e')
TPU7X = _tpu('TPU7x', 2307e12, 192, 7380e9, 6, 90e9, 'tpu7x').half

# {jax.Device.device_kind: Chip}.
CHIPS = {
  'TPU v3': V3,
  'TPU v4': V4,
  'TPU v5 lite': V5E,
  'TPU v5e': V5E,
  'TPU v5': V5P,
  'TPU v5p': V5P,
  'TPU v6 lite': V6E,
  'TPU v6e': V6E,
  'TPU7x': TPU7X,
  'NVIDIA A100-SXM4-40GB': _gpu('A100 40 GB', 312e12, 40e9, 1555e9, 12),
  'NVIDIA A100-SXM4-80GB': _gpu('A100 80 GB', 312e12, 80e9, 2039e9, 12),
  'NVIDIA H100 80GB HBM3': _gpu('H100 SXM', 989e12, 80e9, 3350e9, 18),
  'NVIDIA H200': _gpu('H200 SXM', 989e12, 141e9, 4800e9, 18),
}


def of(device_kind):
  """Returns the Chip of a jax.Device.device_kind, or None if not known."""
  return CHIPS.get(device_kind)
