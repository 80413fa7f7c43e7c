"""Verdicts by their parts: bounds, intervals, effects and seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from ctxlm.lab import verdicts
from ctxlm.lab.verdicts import Effect, Every, Finding, Mean, Seeds

FIVE = np.array([0.9, 1.0, 1.1, 1.0, 1.05])


def test_interval_is_that_of_student():
  # 1, 2, 3: s / sqrt(3) = 0.57735, t(0.975, 2) = 4.30265.
  assert verdicts.interval([1, 2, 3]) == pytest.approx((2, 2.48414), abs=1e-4)
  mean, half = verdicts.interval([5.0])
  assert mean == 5 and np.isnan(half)
  # Of differences it is that of the paired test.
  other = FIVE + np.array([0.1, 0.2, 0.1, 0.3, 0.2])
  mean, half = verdicts.interval(other - FIVE)
  wanted = stats.ttest_rel(other, FIVE).confidence_interval()
  assert (mean - half, mean + half) == pytest.approx(tuple(wanted))


def test_bootstrap_is_that_of_scipy():
  values = np.random.default_rng(1).exponential(size=400)
  wanted = stats.bootstrap(
    (values,), np.mean, method='percentile', n_resamples=1000, rng=2
  ).confidence_interval
  low, high = verdicts.bootstrap(values)
  assert low == pytest.approx(wanted.low, abs=0.01)
  assert high == pytest.approx(wanted.high, abs=0.01)
  assert verdicts.bootstrap(values) == (low, high)
  above, error = verdicts.excess(values).values()
  assert above == values.mean() and error == stats.sem(values)


def test_every_seed_is_counted():
  one = Every('x', FIVE, low=0.95, high=1.05)
  assert (one.within, one.holds) == (3, False)
  assert one.said == '0.95 to 1.05: 3 of 5 seeds'
  assert Every('x', FIVE, high=1.1).said == 'at most 1.1: 5 of 5 seeds'
  assert Every('x', FIVE, low=0.9).holds
  assert not Every('x', [math.nan], low=0).holds
  assert not Every('x', []).holds


def test_means_and_effects_have_intervals():
  mean, half = verdicts.interval(FIVE)
  assert Mean('x', FIVE, mean - half - 1e-9, mean + half + 1e-9).holds
  assert not Mean('x', FIVE, mean - half + 1e-9).holds
  assert not Mean('x', FIVE, high=mean + half - 1e-9).holds
  assert not Mean('x', [1.0], low=0).holds
  # An effect is as large as is asked for, and its interval excludes 0.
  assert Effect('x', FIVE, low=mean - 1e-9).holds
  assert not Effect('x', FIVE, low=mean + 1e-9).holds
  shifted = FIVE - mean + half
  assert Effect('x', shifted + 1e-9, low=0.01).holds
  assert not Effect('x', shifted - 1e-9, low=0.01).holds
  assert not Effect('x', [1.0], low=0.01).holds


def test_what_comes_before_a_verdict():
  good, bad = Every('x', FIVE, low=0), Every('x', FIVE, high=0)
  effect = Effect('x', FIVE, low=0.1)

  def verdict(*wanted, seeds=5, least=5, **parts):
    return Finding(list(wanted), **parts).verdict(seeds, least)

  assert verdict(good) == 'reproduced'
  assert verdict(good, bad, effect=effect) == 'direction only'
  assert verdict(good, bad) == 'not reproduced'
  assert verdict(good, learned=[bad], sound=[bad]) == 'not judged: untrained'
  assert verdict(good, sound=[bad], seeds=1).endswith('a leak')
  nan = Every('x', [*FIVE[1:], math.nan])
  for parts in ({'sound': [nan]}, {'learned': [nan]}):
    assert verdict(good, **parts) == 'not judged: untrained'
  assert verdict(nan) == 'not judged: untrained'
  # What is of another thing tells nothing, whatever it has.
  for one in (good, nan):
    found = verdict(one, learned=[bad], other='another text', seeds=1)
    assert found == 'not judged: another text'
  # Few seeds give none, whatever is there.
  assert verdict(good, seeds=4) == 'not judged: 4 of 5 seeds'
  assert verdict(good, seeds=3, least=3) == 'reproduced'
  assert verdict(good, seeds=2, least=3) == 'not judged: 2 of 3 seeds'


def test_what_is_best_may_be_passed_by_chance():
  assert verdicts.sound('x', np.array([-0.03, 0.1]), [0.01, 0.01]).holds
  assert not verdicts.sound('x', np.array([-0.031, 0.1]), [0.01, 0.01]).holds


def test_seeds_that_nothing_was_tuned_on():
  assert Seeds().first == 0
  assert Seeds(tuned=range(6)).first == 6
  assert Seeds(tuned=(7, 3)).first == 8
  assert Seeds(tuned=(7, 3), least=3).first == 0
  assert '5 seeds' in Seeds().words and 'ten minutes' in Seeds((), 3).words
  with pytest.raises(ValueError, match='3 seeds or more'):
    Seeds(least=2)
