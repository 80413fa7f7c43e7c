"""GLUE's metrics of a classification task (Wang et al. 2019, table 1).

Of classes accuracy, F1 and Matthews' correlation, of several classes an
example the F1s of scikit-learn, and of scores Pearson's and Spearman's
correlations.
"""

import dataclasses
import warnings

import numpy as np
from scipy import stats

from ctxlm.objectives import classification


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns the metrics of the task's kind, and the number of examples."""
    task, records, targets = bench.labelled(
      self, classification.Objective, _target
    )
    given = np.array([out for (out,) in bench.answers(task, records)])
    found = METRICS[task.objective.kind](np.array(targets), given)
    return found | {'examples': len(records)}


def _target(objective, record, number):
  objective.texts(record, number)  # are there
  return objective.target(record, number)


def of_class(targets, logits):
  """Returns accuracy, F1 and Matthews' correlation.

  F1 is of the second of two classes, as in GLUE; of more classes, the mean of
  each one's.

  Args:
    targets: int [n].
    logits: float [n, classes].
  """
  from sklearn import metrics

  average = 'binary' if logits.shape[1] == 2 else 'macro'
  found = logits.argmax(1)
  with warnings.catch_warnings():  # of one class alone
    warnings.simplefilter('ignore', UserWarning)
    return {
      'accuracy': metrics.accuracy_score(targets, found),
      'f1': metrics.f1_score(targets, found, average=average, zero_division=0),
      'matthews': metrics.matthews_corrcoef(targets, found),
    }


def of_classes(targets, logits):
  """Returns the share of examples with all classes right, and F1s.

  Args:
    targets: float [n, classes], 0 or 1.
    logits: float [n, classes].
  """
  from sklearn import metrics

  found = logits > 0
  return {'accuracy': metrics.accuracy_score(targets > 0, found)} | {
    f'f1_{average}': metrics.f1_score(
      targets > 0, found, average=average, zero_division=0
    )
    for average in ('micro', 'macro')
  }


def of_score(targets, scores):
  """Returns correlations, and the root of the mean squared error.

  Args:
    targets: float [n].
    scores: float [n, 1].
  """
  found = scores[:, 0]
  with warnings.catch_warnings():  # of equal scores they are NaN
    warnings.simplefilter('ignore', stats.ConstantInputWarning)
    warnings.simplefilter('ignore', stats.NearConstantInputWarning)
    pearson = stats.pearsonr(targets, found).statistic
    spearman = stats.spearmanr(targets, found).statistic
  return {
    'pearson': pearson,
    'spearman': spearman,
    'rmse': float(np.sqrt(((targets - found) ** 2).mean())),
  }


METRICS = {'class': of_class, 'classes': of_classes, 'score': of_score}
