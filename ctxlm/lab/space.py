"""What a sweep varies: values or a range of each key, and points of them.

In words of the command line:

    optimizer.learning_rate=1e-4,3e-4        these values
    optimizer.learning_rate=log:1e-4:1e-2    log-uniform between two
    model.dropout=uniform:0:0.3              uniform between two

Commas within brackets belong to a value.
"""

import dataclasses
import itertools
import math
import re
from typing import Any

from scipy.stats import qmc

from ctxlm.errors import UserError

RANGE = re.compile(r'(log|uniform):(.*)')
PAIRS = '()', '[]', '{}'
TRIES = 100  # for a point that is none of those there are


@dataclasses.dataclass(frozen=True)
class Choice:
  """Attributes: values, at least one, all different."""

  values: tuple

  @property
  def probes(self):
    """Values whose type and limits are those of all."""
    return self.values

  def typed(self, values):
    """Returns itself of its `probes`, as a config has them.

    Raises:
      ValueError: a line of what is wrong.
    """
    for i, value in enumerate(values):
      if value in values[:i]:
        raise ValueError(f'the value {value!r} is there twice')
    return Choice(tuple(values))

  def at(self, share):
    """Returns the value at a share in [0, 1) of the way through."""
    return self.values[int(share * len(self.values))]

  def holds(self, value):
    """Whether it is one of the values."""
    return value in self.values


@dataclasses.dataclass(frozen=True)
class Range:
  """Attributes: low and high, both within; log: of equal ratios."""

  low: Any
  high: Any
  log: bool = False

  @property
  def probes(self):
    """Values whose type and limits are those of all."""
    return self.low, self.high

  def typed(self, values):
    """Returns itself of its `probes`, as a config has them; see Choice."""
    low, high = values
    if not all(map(is_number, values)) or not all(map(math.isfinite, values)):
      raise ValueError('a range needs two numbers, LOW:HIGH')
    if not low < high:
      raise ValueError(f'{low} is not below {high}')
    if self.log and low <= 0:
      raise ValueError('log needs numbers above 0')
    return Range(low, high, self.log)

  @property
  def whole(self):
    """Whether its values are whole numbers."""
    return isinstance(self.low, int)

  def at(self, share):
    """Returns the value at a share in [0, 1) of the way from low to high."""
    low, high = self.low, self.high + self.whole
    value = (
      low * (high / low) ** share if self.log else low + share * (high - low)
    )
    return self.near(math.floor(value) if self.whole else value)

  def near(self, value):
    """Returns it within the range, with the digits that a name has room for."""
    value = int(value) if self.whole else float(f'{value:.3g}')
    return min(max(value, self.low), self.high)

  def holds(self, value):
    """Whether it is within."""
    return is_number(value) and self.low <= value <= self.high


def is_number(value):
  """Whether it is a number, as True is not."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def parse(words):
  """Returns {key: Choice or Range} of `KEY=VALUES` words; values are texts.

  Raises:
    UserError: another form, an empty value, a key twice.

  >>> parse(['model.norm=rmsnorm,layernorm'])
  {'model.norm': Choice(values=('rmsnorm', 'layernorm'))}
  >>> parse(['optimizer.factors=(),(("heads/", 2.0),)'])
  {'optimizer.factors': Choice(values=('()', '(("heads/", 2.0),)'))}
  """
  space = {}
  for word in words:
    key, equals, text = word.partition('=')
    if not key or not equals:
      raise UserError(
        f'--over {word}: say KEY=VALUE,VALUE or KEY=log:LOW:HIGH, such as '
        'optimizer.learning_rate=1e-4,3e-4'
      )
    if key in space:
      raise UserError(f'--over {key} is there twice: give all values in one')
    if key == 'seed':
      raise UserError('--over seed: say how many with --seeds=N')
    match = RANGE.fullmatch(text)
    parts = match[2].split(':') if match else _split(text)
    if not all(parts):
      raise UserError(f'--over {word}: a value is empty')
    if match and len(parts) != 2:
      raise UserError(f'--over {word}: a range is {match[1]}:LOW:HIGH')
    space[key] = Range(*parts, match[1] == 'log') if match else Choice(parts)
  return space


def _split(text):
  # At the commas that stand in no brackets.
  parts, whole = [], True
  for piece in text.split(','):
    if whole:
      parts.append(piece)
    else:
      parts[-1] += f',{piece}'
    whole = all(parts[-1].count(a) <= parts[-1].count(b) for a, b in PAIRS)
  return tuple(part.strip() for part in parts)


def grid(space):
  """Returns all combinations of the values, [{key: value}].

  Raises:
    UserError: one is a range.
  """
  for key, part in space.items():
    if isinstance(part, Range):
      raise UserError(
        f'--over {key} is a range: say how many points to try, --points=N'
      )
  lists = [part.values for part in space.values()]
  return [dict(zip(space, row)) for row in itertools.product(*lists)]


def draw(space, count):
  """Returns `count` different points, or as many as there are.

  They are quasi-random (Halton's sequence, scrambled), which leaves smaller
  gaps than independent draws; the first n of more are those of n.
  """
  points, shares = [], qmc.Halton(len(space), rng=0)
  for _ in range(TRIES * count):
    (row,) = shares.random(1)
    point = {key: part.at(u) for (key, part), u in zip(space.items(), row)}
    points += [point] if point not in points else []
    if len(points) == count:
      break
  return points
