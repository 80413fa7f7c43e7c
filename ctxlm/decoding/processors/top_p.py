"""Top-p, or nucleus, sampling (Holtzman et al. 2020, arXiv:1904.09751)."""

import dataclasses
from typing import Annotated

import jax

from ctxlm.decoding.processors import filters
from ctxlm.ranges import Count, Range


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the fewest tokens whose probabilities sum to p or more."""

  p: Annotated[float, Range('(0, 1]')]
  least: Count = 1

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    if self.p == 1:
      return logits
    p = jax.nn.softmax(logits)
    kept = filters.within_mass(logits, p, self.p, self.least)
    return filters.keep(logits, kept)
