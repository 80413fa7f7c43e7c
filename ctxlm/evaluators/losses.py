"""A task's own sums on a split: MLM loss and accuracy, next-sentence accuracy.

Whatever the objective sums is divided and reported by name.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns {name: numerator / denominator} of the objective's sums."""
    sums = bench.sums(bench.task(self.task), self.split)
    return {name: n / d if d else float('nan') for name, (n, d) in sums.items()}
