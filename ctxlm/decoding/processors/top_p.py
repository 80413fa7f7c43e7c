"""Top-p, or nucleus, sampling (Holtzman et al. 2020, arXiv:1904.09751)."""

import dataclasses

import jax

from ctxlm.decoding.processors import filters


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the fewest tokens whose probabilities sum to p or more."""

  p: float
  least: int = 1

  def __post_init__(self):
    if not 0 < self.p <= 1:
      raise ValueError(f'top_p: p={self.p} must be in (0, 1]')

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    if self.p == 1:
      return logits
    p = jax.nn.softmax(logits)
    kept = filters.within_mass(logits, p, self.p, self.least)
    return filters.keep(logits, kept)
