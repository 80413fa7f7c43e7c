"""Intervals: they cover, are the same each time, and suit what they are of."""

import numpy as np
import pytest

from ctxlm.evaluators import metrics
from ctxlm.evaluators.metrics import bootstrap, distinct

RNG = np.random.default_rng(0)


def test_the_interval_of_a_mean():
  values = RNG.normal(3, 2, 400)
  found = bootstrap.figures(metrics.means({'x': values}), 400)
  assert found == bootstrap.figures(metrics.means({'x': values}), 400)
  np.testing.assert_allclose(found['x'], values.mean())
  error = 1.96 * values.std() / 20  # the central limit theorem
  np.testing.assert_allclose(found['x'] - found['x_low'], error, rtol=0.1)
  np.testing.assert_allclose(found['x_high'] - found['x'], error, rtol=0.1)


def test_intervals_cover_the_truth():
  covered = 0
  for _ in range(200):
    score = metrics.means({'x': RNG.exponential(1.0, 60)})
    found = bootstrap.figures(score, 60)
    covered += found['x_low'] <= 1.0 <= found['x_high']
  assert 0.89 < covered / 200 < 0.985


def test_parts_are_the_whole(monkeypatch):
  score = metrics.means({'x': RNG.normal(size=30)})
  whole = [bootstrap.figures(score, 30, halves) for halves in (False, True)]
  monkeypatch.setattr(bootstrap, 'ENTRIES', 30 * 7)
  assert whole == [bootstrap.figures(score, 30, h) for h in (False, True)]
  assert whole[0] != whole[1]


def test_halves_have_the_spread_of_the_whole():
  """Of a mean, and of distinct words, which resamples with repeats distort."""
  values = RNG.normal(size=400)
  found = bootstrap.figures(metrics.means({'x': values}), 400, halves=True)
  width = found['x_high'] - found['x_low']
  np.testing.assert_allclose(width, 2 * 1.96 * values.std() / 20, rtol=0.1)

  words = [str(i) for i in range(3000)]
  p = 1 / np.arange(1, 3001)
  p /= p.sum()

  def corpus():
    drawn = RNG.choice(words, p=p, size=(200, 8))
    return [' '.join(row) for row in drawn]

  metric, one = distinct.Metric((1,)), np.ones((1, 200))
  draws = [metric.measure(corpus(), None)[0](one) for _ in range(200)]
  spread = np.std([draw['distinct_1'] for draw in draws])
  score, _ = metric.measure(corpus(), None)
  found = bootstrap.figures(score, 200, halves=True)
  value, low, high = (
    found[f'distinct_1{end}'] for end in ('', '_low', '_high')
  )
  assert low < value < high
  np.testing.assert_allclose((high - low) / 2 / 1.96, spread, rtol=0.3)
  repeated = bootstrap.figures(score, 200)
  assert repeated['distinct_1_high'] < value


@pytest.mark.parametrize('halves', [False, True])
def test_one_example_has_no_spread(halves):
  score = metrics.means({'x': np.array([0.25])})
  found = bootstrap.figures(score, 1, halves)
  assert set(found.values()) == {0.25}


def test_a_resample_may_lack_a_kind():
  def score(weights):
    with np.errstate(invalid='ignore'):
      return {
        'x': weights[:, 0] * 2 / weights[:, 0],
        'y': weights[:, 0] * np.nan,
      }

  found = bootstrap.figures(score, 3)
  assert found['x_low'] == found['x'] == found['x_high'] == 2
  assert np.isnan(found['y_low'])
