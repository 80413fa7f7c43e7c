"""Verdicts: what figures over seeds say of a claim, bounded from both sides.

A claim's check gives a Finding. It is not judged of what the claim is not
about, while an arm hasn't learned what it can, while something is better than
the best there is, or of too few seeds. Then it is 'reproduced' if all that is
wanted holds; 'direction only' if the effect is there, though not as large; and
else 'not reproduced'.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from scipy import stats

UNFINISHED = 'unfinished'
ERRORS = 3  # standard errors by which chance may beat the best there is


@dataclasses.dataclass(frozen=True)
class Seeds:
  """Which seeds an experiment's verdicts are of.

  Attributes:
    tuned: those that its settings or criteria were chosen on, or that somebody
      had looked at before they stood; no verdict is taken on them.
    least: how many others a verdict takes: 5, or 3 where a point takes over
      ten minutes.
  """

  tuned: tuple = ()
  least: int = 5

  def __post_init__(self):
    if self.least < 3:
      raise ValueError(f'least={self.least}: a verdict takes 3 seeds or more')

  @property
  def first(self):
    """The first of `least` seeds in a row that nothing was tuned on."""
    later = (seed + 1 for seed in sorted(self.tuned))
    return next(
      begin
      for begin in (0, *later)
      if not {*range(begin, begin + self.least)} & {*self.tuned}
    )

  @property
  def words(self):
    """How many a verdict takes, and why."""
    why = '' if self.least >= 5 else ', as a point takes over ten minutes'
    return f'at least {self.least} seeds{why}'


def interval(values):
  """Returns (mean, half-width) of the 95 % interval, Student's t; nan of one.

  Of differences between arms that share seeds it is the paired one.

  >>> mean, half = interval([1, 2, 3])
  >>> print(f'{mean:.1f} ± {half:.1f}')
  2.0 ± 2.5
  """
  values = np.asarray(values, float)
  n = len(values)
  if n < 2:
    return float(values.mean()), float('nan')
  with np.errstate(invalid='ignore'):  # of infinite values
    half = _quantile(n - 1) * values.std(ddof=1) / n**0.5
  return float(values.mean()), float(half)


@functools.cache
def _quantile(freedom):
  return stats.t.ppf(0.975, freedom)


def bootstrap(values, times=1000):
  """Returns (low, high), the 95 % interval of a mean over prompts.

  Percentiles of resampled means (Efron & Tibshirani 1993, section 13.3); of
  differences on the same prompts it is the paired one.

  Args:
    values: [prompts].
    times: samples, the same ones in every call.
  """
  values, rng = np.asarray(values, float), np.random.default_rng(0)
  n = len(values)
  means = [values[rng.integers(0, n, n)].mean() for _ in range(times)]
  low, high = np.quantile(means, (0.025, 0.975))
  return float(low), float(high)


def excess(values):
  """Returns {'above': mean, 'above_error': its standard error} over prompts.

  Args:
    values: [prompts], of a model minus the best there is on the same ones.
  """
  values = np.asarray(values, float)
  error = values.std(ddof=1) / len(values) ** 0.5
  return {'above': values.mean(), 'above_error': error}


@dataclasses.dataclass(frozen=True)
class Every:
  """A figure that lies within bounds in every seed.

  Attributes:
    what: in words, with its unit.
    values: [seeds], or one value for all.
    low, high: bounds, which are within themselves.
  """

  what: str
  values: Any
  low: float = -math.inf
  high: float = math.inf

  def __post_init__(self):
    values = np.atleast_1d(np.asarray(self.values, float))
    object.__setattr__(self, 'values', values)

  @property
  def within(self):
    """Of how many seeds it does."""
    return int(((self.values >= self.low) & (self.values <= self.high)).sum())

  @property
  def holds(self):
    """Whether it does in all."""
    return self.within == len(self.values) > 0

  @property
  def bound(self):
    """The bounds, in words."""
    if self.low == -math.inf:
      return f'at most {self.high:g}'
    if self.high == math.inf:
      return f'at least {self.low:g}'
    return f'{self.low:g} to {self.high:g}'

  @property
  def said(self):
    """What came of it, in words."""
    return f'{self.bound}: {self.within} of {len(self.values)} seeds'


class Mean(Every):
  """A figure whose 95 % interval over seeds lies within bounds."""

  @property
  def holds(self):
    """Whether it does; of one seed it doesn't."""
    mean, half = interval(self.values)
    return self.low <= mean - half and mean + half <= self.high

  @property
  def said(self):
    """What came of it, in words."""
    told = 'yes' if self.holds else 'no'
    return f'interval {self.bound}: {told}, of {len(self.values)} seeds'


class Effect(Every):
  """A difference whose 95 % interval excludes 0, and that is `low` at least."""

  @property
  def holds(self):
    """Whether it does, and is."""
    mean, half = interval(self.values)
    return mean - half > 0 and mean >= self.low

  @property
  def said(self):
    """What came of it, in words."""
    told = 'yes' if self.holds else 'no'
    return (
      f'interval above 0, mean {self.bound}: {told}, of {len(self.values)} '
      'seeds'
    )


def sound(what, above, error):
  """Returns the Every of what nothing can be below: the best there is.

  Args:
    what: in words.
    above: [seeds], how much worse than the best; see `excess`.
    error: [seeds], its standard error.
  """
  shown = f'{what}, and {ERRORS} standard errors'
  return Every(shown, np.add(above, ERRORS * np.asarray(error)), low=0)


@dataclasses.dataclass(frozen=True)
class Finding:
  """What a claim's check came to; differences are between same seeds.

  Attributes:
    wanted: [Every or Mean], which hold if the claim is reproduced.
    learned: [Every]: arms have learned what they can, controls above all.
    sound: [Every]: nothing is better than the best there is.
    effect: Effect, the claim's direction; None of one that has none.
    beside: {what: [seeds]}, more to show.
    other: what this is of, in words, if the claim is not about it.
  """

  wanted: list
  learned: list = ()
  sound: list = ()
  effect: Effect | None = None
  beside: dict = dataclasses.field(default_factory=dict)
  other: str = ''

  @property
  def bounds(self):
    """Yields (part, Every) of all parts."""
    for part in ('wanted', 'learned', 'sound'):
      for one in getattr(self, part):
        yield part, one
    if self.effect:
      yield 'effect', self.effect

  def verdict(self, seeds, least):
    """Returns the verdict in words.

    Args:
      seeds: how many there are.
      least: how many it takes.
    """
    if self.other:
      return f'not judged: {self.other}'
    broken = any(not np.isfinite(one.values).all() for _, one in self.bounds)
    if broken or not all(one.holds for one in self.learned):
      return 'not judged: untrained'
    if not all(one.holds for one in self.sound):
      return 'not judged: better than the best, a leak'
    if seeds < least:
      return f'not judged: {seeds} of {least} seeds'
    if all(one.holds for one in self.wanted):
      return 'reproduced'
    if self.effect and self.effect.holds:
      return 'direction only'
    return 'not reproduced'
