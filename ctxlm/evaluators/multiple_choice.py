"""Accuracy of a multiple-choice task, beside that of a guess."""

import dataclasses

import numpy as np

from ctxlm.objectives import multiple_choice


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns accuracy; chance, a guess's; examples."""
    task, records, targets = bench.labelled(
      self, multiple_choice.Objective, _target
    )
    scores = bench.answers(task, records)
    right = [np.argmax(s) == t for s, t in zip(scores, targets)]
    return {
      'accuracy': np.mean(right),
      'chance': np.mean([1 / len(s) for s in scores]),
      'examples': len(records),
    }


def _target(objective, record, number):
  objective.texts(record, number)  # are there
  return objective.target(record, number)
