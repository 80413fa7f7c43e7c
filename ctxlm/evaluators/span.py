"""Exact match and F1 of a span task's answers, as SQuAD's script has them.

See ctxlm.evaluators.metrics.squad. Each figure has an interval of 95 %, see
ctxlm.evaluators.metrics.bootstrap.
"""

import dataclasses

import numpy as np

from ctxlm.evaluators.metrics import bootstrap, squad
from ctxlm.objectives import span


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns squad_exact and squad_f1, 0 to 100, and the number of questions.

    Where some have no answer those of each kind too, and the best that any
    threshold gives: squad_best_exact and squad_best_f1, each with its
    `_threshold`. A checkpoint that says nothing of it may give none then.
    """
    task, records, targets = bench.labelled(
      self, span.Objective, span.Objective.answers
    )
    span.check_ids(records)
    objective = task.objective
    answered = np.array([bool(own) for own in targets])
    if objective.unanswerable is None:
      objective = dataclasses.replace(
        objective, unanswerable=not answered.all()
      )
    given = bench.answers(task, records)
    found = [objective.answer(r, out) for r, out in zip(records, given)]
    references = [
      [objective.texts(record)[1][a:b] for a, b in own]
      for record, own in zip(records, targets)
    ]
    texts = [one['answer'] for one in found]
    score, _ = squad.Metric().measure(texts, references)
    figures = bootstrap.figures(score, len(texts))
    if not answered.all():
      figures |= _best(found, references, answered)
    return figures | {'examples': len(records)}


def _best(found, references, answered):
  # By the best span of each, whether it was given or not.
  spans = [
    next(s for s in (one, *one['others']) if s['answer']) for one in found
  ]
  texts = [one['answer'] for one in spans]
  margins = [one['no_answer'] for one in found]
  empty = np.array([not squad.normalize(text) for text in texts])
  figures = {}
  for name, scores in zip(
    ('exact', 'f1'), np.array(squad.scores(texts, references)).T
  ):
    best, at = squad.best_threshold(scores, margins, answered, empty)
    figures[f'squad_best_{name}'] = 100 * best
    # Of -inf none is answered, which JSON can't say.
    figures[f'squad_best_{name}_threshold'] = max(at, min(margins) - 1)
  return figures
