"""Top-k sampling (Fan et al. 2018, arXiv:1805.04833, section 5.4)."""

import dataclasses

from ctxlm.decoding.processors import filters
from ctxlm.ranges import Count


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the k most probable tokens, and ties with the last of them."""

  k: Count
  least: Count = 1

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    kept = filters.best(logits, max(self.k, self.least))
    return filters.keep(logits, kept)
