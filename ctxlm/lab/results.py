"""What runs came to: a sweep's points, and their metrics over steps."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.lab import asha, experiment
from ctxlm.lab import points as points_lib
from ctxlm.training import tracking


@dataclasses.dataclass
class Point:
  """One run of a sweep.

  Attributes:
    name: of its folder.
    overrides: of the recipe, with 'seed'.
    num_steps: that it is to train.
    rows: of metrics.jsonl, timings left out.
    done: whether it is trained to the end.
    failed: what it said when it failed, or ''.
    stopped: of one that was stopped early, {'step', 'metric', 'value'}.
  """

  name: str
  overrides: dict
  num_steps: int
  rows: list
  done: bool
  failed: str = ''
  stopped: dict | None = None

  @property
  def without_seed(self):
    """The overrides but the seed: what the seeds of a point share."""
    return {k: v for k, v in self.overrides.items() if k != 'seed'}

  def curve(self, metric):
    """Returns (steps, values) of a metric, numpy arrays."""
    rows = [(r['step'], r[metric]) for r in self.rows if metric in r]
    return tuple(np.array(rows, float).reshape(-1, 2).T)


def read_rows(folder):
  """Returns the rows of a run's metrics.jsonl, without timings."""
  return [tracking.untimed(row) for row in tracking.read(Path(folder))]


def is_done(folder, num_steps):
  """Whether a run's last checkpoint, written after all metrics, is there."""
  last = Path(folder) / 'checkpoints' / str(num_steps)
  return (last / '_CHECKPOINT_METADATA').exists()


class Results:
  """The points of a sweep, as its `criteria` and `report` read them."""

  def __init__(self, points):
    """Keeps the points, sorted by seed."""
    self.points = sorted(points, key=lambda p: p.overrides['seed'])

  def groups(self):
    """Returns [Results] of the seeds of each point, in the points' order."""
    groups = {}
    for p in self.points:
      groups.setdefault(points_lib.identity(p.without_seed), []).append(p)
    return [Results(points) for points in groups.values()]

  def where(self, **wanted):
    """Returns the Results whose overrides match, by their keys' last words.

    A value may be a function that says whether it matches.

    Raises:
      ValueError: no override has that last word, or two have.
    """

    def matches(point):
      words = [key.split('.')[-1] for key in point.overrides]
      own = dict(zip(words, point.overrides.values(), strict=True))
      for key, value in wanted.items():
        if words.count(key) > 1:
          raise ValueError(f'more than one override ends in {key!r}')
        if key not in own:
          raise ValueError(f'no override {key!r}.' + plugins.suggest(key, own))
        same = value(own[key]) if callable(value) else own[key] == value
        if not same:
          return False
      return True

    return Results([p for p in self.points if matches(p)])

  def confirming(self, seeds):
    """Returns the Results that verdicts are taken on, whose arms are paired.

    They are of the seeds that all points have and nothing was tuned on.

    Args:
      seeds: verdicts.Seeds.
    """
    of_groups = [
      {p.overrides['seed'] for p in group.points} for group in self.groups()
    ]
    own = set.intersection(*of_groups or [set()]) - {*seeds.tuned}
    return Results([p for p in self.points if p.overrides['seed'] in own])

  @property
  def seeds(self):
    """The seeds of its points, in order."""
    return sorted({p.overrides['seed'] for p in self.points})

  def finished(self):
    """Returns itself, for a claim that needs all of its points.

    Raises:
      experiment.Unfinished: some aren't done, or there are none.
    """
    if not self.points or not all(p.done for p in self.points):
      raise experiment.Unfinished
    return self

  def final(self, metric):
    """Returns the metric's last value of every point, float64 [points].

    Raises:
      experiment.Unfinished: see `finished`.
      UserError: a point has no such metric.
    """
    return self.finished().last(metric)

  def last(self, metric):
    """Returns the metric's last value of every point that is done, float64.

    Raises:
      UserError: a point has no such metric.
    """
    values = []
    for point in self.points:
      if not point.done:
        continue
      own = point.curve(metric)[1]
      if not len(own):
        known = {m for row in point.rows for m in row}
        raise UserError(
          f'{point.name}/{tracking.METRICS} has no {metric!r}.'
          + (plugins.suggest(metric, known) if known else ' Train it anew.')
        )
      values.append(own[-1])
    return np.array(values)

  def curves(self, metric):
    """Returns (steps [n], values [points, n]) of the steps that all have.

    Of the runs that are done, or, as long as none is, of those that have begun:
    a run that has just begun would leave little of the others.
    """
    done = [p for p in self.points if p.done]
    curves = [p.curve(metric) for p in done or self.points]
    curves = [(steps, values) for steps, values in curves if len(steps)]
    if not curves:
      return np.zeros(0), np.zeros((0, 0))
    shared = functools.reduce(np.intersect1d, [steps for steps, _ in curves])
    return shared, np.array([v[np.isin(s, shared)] for s, v in curves])

  def level(self, metric):
    """Returns the newest value of a metric that all runs share, or None."""
    _, values = self.curves(metric)
    return float(values[0, -1]) if values.size else None

  def series(self, label, metric):
    """Returns the experiment.Series of a metric over steps."""
    return experiment.Series(label, *self.curves(metric))


def read(workdir, plan):
  """Returns the Results of a sweep's folder and what its sweep.json says."""
  points = []
  for name, point in plan['points'].items():
    folder, num_steps = workdir / name, point['num_steps']
    done = is_done(folder, num_steps)
    points.append(
      Point(
        name,
        point['overrides'],
        num_steps,
        read_rows(folder),
        done,
        '' if done else plan.get('failed', {}).get(name, ''),
        None if done else asha.read(folder),
      )
    )
  return Results(points)
