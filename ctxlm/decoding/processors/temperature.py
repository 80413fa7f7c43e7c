"""Temperature: logits divided by a number."""

import dataclasses
from typing import Annotated

from ctxlm.ranges import Range

GREEDY = "for the most probable tokens use the strategy 'greedy'"


@dataclasses.dataclass(frozen=True)
class Processor:
  """Below 1 the likely become likelier, above 1 the unlikely."""

  temperature: Annotated[float, Range('(0, inf)', hint=GREEDY)]

  def __call__(self, logits, text):
    """Returns logits / temperature."""
    return logits / self.temperature
