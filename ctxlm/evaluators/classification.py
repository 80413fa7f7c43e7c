"""GLUE's metrics of a classification task (Wang et al. 2019, table 1).

Of classes accuracy, F1 and Matthews' correlation, of several classes an
example the F1s of scikit-learn, and of scores Pearson's and Spearman's
correlations; each with its interval, see metrics.bootstrap.
"""

import dataclasses

import numpy as np

from ctxlm.evaluators.metrics import bootstrap, labels
from ctxlm.objectives import classification


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns the figures of the task's kind, and the number of examples."""
    task, records, targets = bench.labelled(self, classification.Objective)
    given = np.array([out for (out,) in bench.answers(task, records)])
    names = task.objective.labels
    if task.objective.kind == 'class' and len(names) == 2:
      bench.sign('f1', f'of {names[1]!r}, the second of {names}')
    score = METRICS[task.objective.kind](np.array(targets), given)
    return bootstrap.figures(score, len(records)) | {'examples': len(records)}


METRICS = {
  'class': labels.of_class,
  'classes': labels.of_classes,
  'score': labels.of_score,
}
