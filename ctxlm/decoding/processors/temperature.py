"""Temperature: logits divided by a number."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Processor:
  """Below 1 the likely become likelier, above 1 the unlikely."""

  temperature: float

  def __post_init__(self):
    if not self.temperature > 0:
      raise ValueError(
        f'temperature={self.temperature} must be more than 0; for the most '
        "probable tokens use the strategy 'greedy'"
      )

  def __call__(self, logits, text):
    """Returns logits / temperature."""
    return logits / self.temperature
