"""Figures of resamples, against scikit-learn and scipy on what they hold."""

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration, metrics

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


@pytest.mark.parametrize('size', [2, 5])
def test_options(size):
  targets = RNG.integers(0, size, COUNT)
  found = np.where(RNG.random(COUNT) < 0.5, targets, 0)

  def theirs(targets, found):
    f1 = metrics.f1_score(targets, found, average='macro', zero_division=0)
    return {
      'accuracy': metrics.accuracy_score(targets, found),
      'f1_macro': f1,
    }

  assert_equal(labels.of_options(targets, found, size), theirs, targets, found)
  # One that chose nothing is wrong, and found nothing.
  none = np.where(np.arange(COUNT) < 9, -1, found)
  score = labels.of_options(targets, none, size)(WEIGHTS[:1])
  names = [*range(size)]
  want = metrics.f1_score(targets, none, labels=names, average='macro')
  np.testing.assert_allclose(score['f1_macro'], want)


def test_calibration_error():
  confidence = RNG.uniform(0.2, 1, COUNT)
  right = (RNG.random(COUNT) < confidence**2).astype(float)

  def theirs(right, confidence):
    bins = labels.BINS
    true, mean = calibration.calibration_curve(right, confidence, n_bins=bins)
    sizes, _ = np.histogram(confidence, bins, (0, 1))
    share = sizes[sizes > 0] / len(right)
    return {'calibration_error': share @ abs(true - mean)}

  score = labels.calibration(confidence, right)
  assert_equal(score, theirs, right, confidence)
  ends = labels.calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
  assert ends(np.ones((1, 2)))['calibration_error'] == 0


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
