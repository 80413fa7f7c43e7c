"""Figures of resamples, against scikit-learn and scipy on what they hold."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ctxlm.evaluators.metrics import labels

RNG = np.random.default_rng(0)
COUNT = 40
# All once; resamples; and one in which only few are there.
WEIGHTS = np.concatenate(
  [
    np.ones((1, COUNT)),
    RNG.multinomial(COUNT, np.full(COUNT, 1 / COUNT), 3),
    np.eye(COUNT)[:1] * 3 + np.eye(COUNT)[1:2],
  ]
)


def assert_equal(score, theirs, *arrays):
  """The score of each resample is theirs of the rows that it holds."""
  found = score(WEIGHTS)
  for i, weights in enumerate(WEIGHTS):
    own = [np.repeat(a, weights.astype(int), axis=0) for a in arrays]
    for name, wanted in theirs(*own).items():
      np.testing.assert_allclose(found[name][i], wanted, atol=1e-12)


@pytest.mark.filterwarnings('ignore:A single label')
@pytest.mark.parametrize('size', [2, 4])
def test_a_class(size):
  targets = RNG.integers(0, size, COUNT)
  logits = RNG.normal(size=(COUNT, size)) + 2 * np.eye(size)[targets]
  average = 'binary' if size == 2 else 'macro'

  def theirs(targets, logits):
    pair = targets, logits.argmax(1)
    f1 = metrics.f1_score(*pair, average=average, zero_division=0)
    return {
      'accuracy': metrics.accuracy_score(*pair),
      'f1': f1,
      'matthews': metrics.matthews_corrcoef(*pair),
    }

  score = labels.of_class(targets, logits)
  assert_equal(score, theirs, targets, logits)


def test_classes():
  targets = RNG.integers(0, 2, (COUNT, 3)).astype(float)
  logits = RNG.normal(size=(COUNT, 3)) + targets

  def theirs(targets, logits):
    pair = targets > 0, logits > 0
    return {'accuracy': metrics.accuracy_score(*pair)} | {
      f'f1_{a}': metrics.f1_score(*pair, average=a, zero_division=0)
      for a in ('micro', 'macro')
    }

  assert_equal(labels.of_classes(targets, logits), theirs, targets, logits)


@pytest.mark.filterwarnings('ignore:An input array is constant')
def test_a_score():
  targets = RNG.integers(0, 6, COUNT).astype(float)  # many are equal
  found = (targets + RNG.normal(size=COUNT)).round(1)[:, None]

  def theirs(targets, found):
    pair = targets, found[:, 0]
    return {
      'pearson': stats.pearsonr(*pair).statistic,
      'spearman': stats.spearmanr(*pair).statistic,
      'rmse': np.sqrt(metrics.mean_squared_error(*pair)),
    }

  assert_equal(labels.of_score(targets, found), theirs, targets, found)


def test_equal_scores_have_no_correlation():
  found = labels.of_score(RNG.normal(size=COUNT), np.full((COUNT, 1), 0.7))
  values = found(WEIGHTS)
  assert np.isnan(values['pearson']).all()
  assert np.isnan(values['spearman']).all()
  assert np.isfinite(values['rmse']).all()
