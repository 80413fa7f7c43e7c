"""Accuracy of a tagging task's words, and F1 of the entities of its BIO tags.

An entity counts if its label, its first and its last word are right, as in the
evaluation of CoNLL-2000 (Tjong Kim Sang & Buchholz 2000), by seqeval. Each
figure has an interval, of resampled texts, see metrics.bootstrap.
"""

import dataclasses

import numpy as np

from ctxlm.evaluators.metrics import bootstrap, entities
from ctxlm.objectives import tagging


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns accuracy; of BIO precision, recall and f1; examples.

    A word that the tokenizer has no piece of is outside, and wrong.
    """
    task, records, targets = bench.labelled(
      self, tagging.Objective, tagging.Objective.target
    )
    objective = task.objective
    found = [
      objective.answer(record, outputs)['tags']
      for record, outputs in zip(records, bench.answers(task, records))
    ]
    wanted = [[objective.labels[t] for t in target] for target in targets]
    figures = bootstrap.figures(accuracy(wanted, found), len(records))
    if objective.bio:
      found = [[tag or 'O' for tag in tags] for tags in found]
      score, signature = entities.measure(found, wanted)
      figures |= bootstrap.figures(score, len(records))
      bench.sign('f1', signature)
    return figures | {'examples': len(records)}


def accuracy(wanted, found):
  """Returns the score of the share of right words; see metrics.Metric."""
  pairs = [list(zip(w, f, strict=True)) for w, f in zip(wanted, found)]
  right = np.array([sum(w == f for w, f in own) for own in pairs], float)
  words = np.array([len(tags) for tags in wanted], float)
  return lambda weights: {'accuracy': weights @ right / (weights @ words)}
