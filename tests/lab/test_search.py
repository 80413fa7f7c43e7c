"""Bayesian search: it comes nearer to the best, and is the same again."""

import math
import sys

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import search
from ctxlm.lab.space import Choice, Range, draw

SPACE = {
  'rate': Range(1e-5, 1e-1, log=True),
  'layers': Range(1, 8),
  'norm': Choice(('pre', ('post', 1))),
}


def loss(point):
  """The best is rate 1e-3, 5 layers, 'pre'; above 0.03 it diverges."""
  if point['rate'] > 0.03:
    return math.inf
  far = (math.log10(point['rate']) + 3) ** 2 + 0.1 * (point['layers'] - 5) ** 2
  return far + (point['norm'] != 'pre')


def run(count, trials=()):
  trials = list(trials)
  while len(trials) < count:
    point = search.propose(SPACE, trials)
    trials.append(search.Trial(point, loss(point)))
  return trials


def test_it_beats_as_many_draws():
  trials = run(40)
  best = min(trials, key=lambda t: t.value)
  assert best.value < 0.05
  late = [t.value for t in trials[20:]]
  drawn = [loss(p) for p in draw(SPACE, 40)]
  assert sorted(late)[10] < 0.5 * sorted(drawn)[20]
  assert sum(map(math.isinf, late)) <= sum(map(math.isinf, drawn)) / 4


def test_the_first_are_spread():
  first = [t.overrides for t in run(search.FIRST)]
  assert first == draw(SPACE, search.FIRST)
  # Also where all of them run at once.
  running = [search.Trial(point) for point in first]
  assert search.propose(SPACE, running) not in first


def test_one_that_goes_on_proposes_what_it_would_have():
  trials = run(12)
  assert run(12, trials[:7]) == trials


def test_what_runs_was_stopped_or_is_of_another_range_is_no_hindrance():
  trials = run(8)
  trials[3] = search.Trial(trials[3].overrides)
  trials[4] = search.Trial(trials[4].overrides, 2.0, stopped=30)
  trials.append(search.Trial({'rate': 0.5, 'layers': 2, 'norm': 'pre'}, 0.0))
  point = search.propose(SPACE, trials)
  assert point not in [t.overrides for t in trials]
  assert all(SPACE[key].holds(value) for key, value in point.items())


def test_it_ends_with_the_last_point_there_is():
  space = {'norm': Choice(tuple('abcdefghi'))}
  trials = []
  while point := search.propose(space, trials):
    trials.append(search.Trial(point, float(ord(point['norm']))))
  assert sorted(t.overrides['norm'] for t in trials) == list('abcdefghi')


def test_optuna_is_an_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'optuna', None)
  with pytest.raises(UserError, match=r"pip install 'ctxlm\[search\]'"):
    search.check()
