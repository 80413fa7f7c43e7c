"""A task's own sums on a split: MLM loss and accuracy, next-sentence accuracy.

Whatever the objective sums is divided and reported by name.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split, every_steps (the loop's)."""

  task: str = ''
  split: str = 'validation'
  every_steps: int = 0

  def run(self, context):
    """Returns {name: numerator / denominator} of the objective's sums."""
    sums = context.sums(context.task(self.task), self.split)
    return {name: n / d if d else float('nan') for name, (n, d) in sums.items()}
