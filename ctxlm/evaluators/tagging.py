"""Accuracy of a tagging task's words, and F1 of the spans of its BIO tags.

A span counts if its label, its first and its last word are right, as in the
evaluation of CoNLL-2000 (Tjong Kim Sang & Buchholz 2000).
"""

import dataclasses

from ctxlm.objectives import tagging


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns accuracy; of BIO precision, recall and f1; examples.

    Words beyond a row are outside of all spans, and wrong.
    """
    task, records, targets = bench.labelled(
      self, tagging.Objective, tagging.Objective.target
    )
    objective = task.objective
    given = bench.answers(task, records)
    found = [
      objective.answer(record, outputs)['tags']
      for record, outputs in zip(records, given)
    ]
    wanted = [[objective.labels[t] for t in target] for target in targets]
    return scores(wanted, found, objective.bio) | {'examples': len(records)}


def scores(wanted, found, bio):
  """Returns the metrics of tags.

  Args:
    wanted, found: lists of a text's tags; None in `found` is none.
    bio: whether they are BIO's.
  """
  pairs = [p for w, f in zip(wanted, found) for p in zip(w, f, strict=True)]
  metrics = {'accuracy': sum(w == f for w, f in pairs) / len(pairs)}
  if not bio:
    return metrics
  own, theirs = (
    {(i, *span) for i, tags in enumerate(each) for span in tagging.spans(tags)}
    for each in (found, wanted)
  )
  right = len(own & theirs)
  return metrics | {
    'precision': right / max(len(own), 1),
    'recall': right / max(len(theirs), 1),
    'f1': 2 * right / max(len(own) + len(theirs), 1),
  }
