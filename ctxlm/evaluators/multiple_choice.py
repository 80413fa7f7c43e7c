"""Accuracy of a multiple-choice task, beside that of a guess.

Its interval is of resampled records, see metrics.bootstrap.
"""

import dataclasses

import numpy as np

from ctxlm.evaluators.metrics import bootstrap
from ctxlm.objectives import multiple_choice


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns accuracy with its interval; chance, a guess's; examples."""
    task, records, targets = bench.labelled(self, multiple_choice.Objective)
    scores = bench.answers(task, records)
    right = [np.argmax(s) == t for s, t in zip(scores, targets)]
    right = np.array(right, float)
    figures = bootstrap.figures(
      lambda weights: {'accuracy': weights @ right / weights.sum(-1)},
      len(records),
    )
    chance = np.mean([1 / len(s) for s in scores])
    return figures | {'chance': chance, 'examples': len(records)}
