"""Figures of classes and of scores, of many resamples at once.

Each function returns the `score` of metrics.Metric: {name: float64 [b]} of
weights [b, n]. Of examples that all count once they are scikit-learn's and
scipy's, and of resamples those of the examples as often as they are there.
"""

import functools

import numpy as np

BINS = 15  # of confidences, as Guo et al. 2017 have it


def of_class(targets, logits):
  """Returns the score of accuracy, F1 and Matthews' correlation.

  F1 is of the second of two classes, as in GLUE; of more classes, the mean of
  each one's that is there. Matthews' correlation of more than two classes is
  Gorodkin's (2004).

  Args:
    targets: int [n].
    logits: float [n, classes].
  """
  size = logits.shape[1]
  wanted, found = np.eye(size)[targets], np.eye(size)[logits.argmax(1)]

  def score(weights):
    right, own, theirs = counts(weights, wanted, found)
    total = weights.sum(1)
    each = f1(right, own, theirs, none=0.0 if size == 2 else np.nan)
    above = total * right.sum(1) - (own * theirs).sum(1)
    below = [total**2 - (c**2).sum(1) for c in (own, theirs)]
    return {
      'accuracy': right.sum(1) / total,
      'f1': each[:, 1] if size == 2 else np.nanmean(each, axis=1),
      'matthews': _ratio(above, np.sqrt(below[0] * below[1]), 0.0),
    }

  return score


def of_options(targets, found, size):
  """Returns the score of accuracy, and of F1 as scikit-learn's 'macro' is.

  Args:
    targets: int [n].
    found: int [n], what was chosen; -1 is none.
    size: how many there are to choose from.
  """
  every = np.arange(size)
  wanted, found = (np.asarray(x)[:, None] == every for x in (targets, found))
  right = (wanted & found).any(1).astype(float)
  wanted, found = wanted.astype(float), found.astype(float)

  def score(weights):
    each = f1(*counts(weights, wanted, found), none=np.nan)
    mean = weights @ right / weights.sum(1)
    return {'accuracy': mean, 'f1_macro': np.nanmean(each, axis=1)}

  return score


def calibration(confidence, right):
  """Returns the score of the expected calibration error, of BINS equal bins.

  sum_b |B_b| / n |accuracy of B_b - mean confidence of B_b| (Guo et al. 2017,
  arXiv:1706.04599, equation 5). Chance alone puts it above 0, the more so the
  fewer examples there are.

  Args:
    confidence: float [n], the probability of what was chosen.
    right: 0 or 1 [n].
  """
  place = np.ceil(np.asarray(confidence) * BINS).astype(int).clip(1, BINS) - 1
  gaps = np.eye(BINS)[place] * (np.asarray(right) - confidence)[:, None]
  return lambda weights: {
    'calibration_error': abs(weights @ gaps).sum(1) / weights.sum(1)
  }


def of_classes(targets, logits):
  """Returns the score of all classes right, and of F1s.

  Args:
    targets: float [n, classes], 0 or 1.
    logits: float [n, classes].
  """
  wanted, found = (targets > 0).astype(float), (logits > 0).astype(float)
  exact = (wanted == found).all(1).astype(float)

  def score(weights):
    each = counts(weights, wanted, found)
    return {
      'accuracy': weights @ exact / weights.sum(1),
      'f1_micro': f1(*(c.sum(1) for c in each)),
      'f1_macro': f1(*each).mean(1),
    }

  return score


def of_score(targets, scores):
  """Returns the score of correlations, and of the root mean squared error.

  Args:
    targets: float [n].
    scores: float [n, 1].
  """
  found = scores[:, 0].astype(float)
  squared = (targets - found) ** 2
  ranked = spearman(targets, found)

  def score(weights):
    mean = weights @ squared / weights.sum(1)
    pearson = correlation(weights, np.asarray(targets, float), found)
    return {'pearson': pearson} | ranked(weights) | {'rmse': np.sqrt(mean)}

  return score


def spearman(x, y, name='spearman'):
  """Returns the score of the correlation of ranks; equal values share theirs.

  Args:
    x, y: float [n].
    name: of the figure.
  """
  ranks = functools.partial(_ranks, x), functools.partial(_ranks, y)
  return lambda weights: {
    name: correlation(weights, *(rank(weights) for rank in ranks))
  }


def _ranks(values, weights):
  # [b, n]: of each value the mean rank of its like in each resample.
  kinds, kind = np.unique(values, return_inverse=True)
  order = np.argsort(kind, kind='stable')
  begins = np.searchsorted(kind[order], np.arange(len(kinds)))
  many = np.add.reduceat(weights[:, order], begins, axis=1)
  return (many.cumsum(1) - (many - 1) / 2)[:, kind]


def correlation(weights, x, y):
  """Returns Pearson's correlation of each resample; NaN where one is constant.

  Args:
    weights: [b, n].
    x, y: float [n], or [b, n].
  """
  (x, xx), (y, yy) = _centred(weights, x), _centred(weights, y)
  covariance = (weights * x * y).sum(1)
  return np.clip(_ratio(covariance, np.sqrt(xx * yy), np.nan), -1, 1)


def _centred(weights, x):
  # Values without their mean [b, n], and the sum of their squares [b].
  mean = (weights * x).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
  squares = (weights * (x - mean) ** 2).sum(1)
  rounding = 1e-24 * (weights * x**2).sum(1)  # all that equal values have
  return x - mean, np.where(squares > rounding, squares, 0)


def counts(weights, wanted, found):
  """Returns how many are right, found and wanted: [b, classes] each.

  Args:
    weights: [b, n].
    wanted, found: 0 or 1 [n, classes].
  """
  return weights @ (wanted * found), weights @ found, weights @ wanted


def f1(right, found, wanted, none=0.0):
  """Returns the harmonic mean of precision and recall; `none` of nothing."""
  return _ratio(2 * right, found + wanted, none)


def _ratio(above, below, none):
  where = below > 0
  return np.where(where, above / np.where(where, below, 1), none)
