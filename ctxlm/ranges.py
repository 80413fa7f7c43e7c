"""What an option may be, declared beside it, and checked before any work.

An option's type is its kind, and `typing.Annotated` says more:

    rate: Annotated[float, Range('(0, 1)')] = 0.15
    unit: Literal['token', 'word', 'span'] = 'token'

What stands beside the kind has `holds(value)`, and `words(value)` that say what
it must be. An option of another type is the class's own affair.
"""

import dataclasses
import functools
import math
import numbers
import re
import reprlib
import types
from typing import (
  Annotated,
  Literal,
  Union,
  get_args,
  get_origin,
  get_type_hints,
)

import ml_collections
import numpy as np

from ctxlm.errors import UserError

KINDS = {
  bool: ((bool,), 'True or False'),
  int: ((numbers.Integral,), 'a whole number'),
  float: ((numbers.Real,), 'a number'),
  str: ((str,), 'a text'),
  tuple: ((tuple, list), 'a list'),
  dict: ((dict, ml_collections.ConfigDict), 'a block of keys'),
}
INTERVAL = re.compile(r'([\[(])(\S+), (\S+)([\])])')
MOST = {int: 2**31 - 1, float: 3.4e38}  # that int32 and float32 hold


class Range:
  """Numbers of an interval; of a list, each.

  >>> Range('[0, 1)').holds(1), Range('[0, 1)', -1).words(1)
  (False, '0 or more and less than 1, or -1')
  """

  def __init__(self, interval, *other, hint=''):
    """Declares it.

    Args:
      interval: as mathematics writes it: '[0, 1)' has 0 and not 1. NaN and
        infinity are in none.
      *other: values that mean something else, such as -1 for a default.
      hint: what to do where no number of the interval is wanted.
    """
    self._parts = INTERVAL.fullmatch(interval).groups()
    self._least, self._most = float(self._parts[1]), float(self._parts[2])
    self._other, self._hint = other, f'; {hint}' if hint else ''

  def holds(self, value):
    """Whether a number, or each of a list, is in the interval."""
    if isinstance(value, (tuple, list)):
      return all(map(self.holds, value))
    if value in self._other:
      return True
    if isinstance(value, float):
      with np.errstate(over='ignore'):  # what is more is infinite there
        value = float(np.float32(value))  # as all is computed
    begins, _, _, ends = self._parts
    above = value > self._least if begins == '(' else value >= self._least
    below = value < self._most if ends == ')' else value <= self._most
    most = MOST[float if isinstance(value, float) else int]
    bounded = math.inf not in (-self._least, self._most)
    return above and below and (bounded or abs(value) <= most)

  def words(self, value):
    """What a number must be, where `value` isn't."""
    begins, least, most, ends = self._parts
    parts = []
    if self._least > -math.inf:
      parts.append(
        f'more than {least}' if begins == '(' else f'{least} or more'
      )
    if self._most < math.inf:
      parts.append(f'less than {most}' if ends == ')' else f'{most} or less')
    most_of_all = MOST[float if isinstance(value, float) else int]
    if value == self._most == math.inf:
      parts.append('finite')
    if self._most == math.inf and math.inf > value > most_of_all:
      parts.append(f'{most_of_all} or less')
    text = ' and '.join(parts) or 'finite'
    if begins + ends == '[]':
      text = f'from {least} to {most}'
    return ', or '.join([text, *map(repr, self._other)]) + self._hint


class Pattern:
  """Texts that are a regular expression."""

  def holds(self, value):
    """Whether a text is one."""
    try:
      re.compile(value)
    except (re.error, RecursionError, OverflowError):
      return False
    return True

  def words(self, value):
    """What a text must be."""
    del value
    return 'a regular expression'


# What options are most of all.
Whole = Annotated[int, Range('[0, inf)')]
Count = Annotated[int, Range('[1, inf)')]
Share = Annotated[float, Range('[0, 1]')]
BelowOne = Annotated[float, Range('[0, 1)')]
ZeroOrMore = Annotated[float, Range('[0, inf)')]
AboveZero = Annotated[float, Range('(0, inf)')]
Finite = Annotated[float, Range('(-inf, inf)')]
# What numpy and JAX both take as a seed, no two of them for the same draws.
Seed = Annotated[int, Range('[0, 4294967295]')]


@functools.cache
def hints(cls):
  """Returns {option: its type} of a dataclass."""
  try:
    read = get_type_hints(cls, include_extras=True)
  except NameError:  # as text, of what the module doesn't import when it runs
    read = {}
  return {f.name: read.get(f.name, f.type) for f in dataclasses.fields(cls)}


def check(cls, options, where=''):
  """Raises UserError, one line, for the first option that can't be.

  Args:
    cls: a dataclass.
    options: {name: value} of some of its fields; a value that is None is let
      pass where that is the default.
    where: what is said before the option's name, such as 'config.model.'.
  """
  for field in dataclasses.fields(cls):
    value = options.get(field.name)
    if value is None and (field.name not in options or field.default is None):
      continue
    wanted = missed(hints(cls).get(field.name), value)
    if wanted:
      shown = reprlib.repr(value)
      raise UserError(f'{where}{field.name}={shown} must be {wanted}')


def check_block(cls, block, where=''):
  """Raises UserError, one line, for a block that can't make a dataclass.

  Args:
    cls: a dataclass.
    block: what a config or JSON has.
    where: what is said before an option's name.
  """
  fields = dataclasses.fields(cls)
  known = [f.name for f in fields]
  needed = [f.name for f in fields if f.default is dataclasses.MISSING]
  if not isinstance(block, (dict, ml_collections.ConfigDict)):
    raise UserError(f'{where}{reprlib.repr(block)} is no block of keys')
  for key in (*block, *needed):
    if key not in known or key not in block:
      said = 'is missing' if key in known else f'is unknown; {known} are known'
      raise UserError(f'{where}{key} {said}')
  check(cls, block, where)


def check_json(kinds, content, where):
  """Returns {key: value or None} of the keys of JSON that are read.

  Args:
    kinds: {key: type} of the keys that are read; null is let pass.
    content: dict that somebody else may have written.
    where: what is said before the key, such as 'config.json: '.

  Raises:
    UserError: one line, for the first that can't be.
  """
  values = {key: content.get(key) for key in kinds}
  for key, hint in kinds.items():
    value = values[key]
    if value is None:
      continue
    union = isinstance(hint, types.UnionType) or get_origin(hint) is Union
    wanted = [missed(h, value) for h in (get_args(hint) if union else [hint])]
    if None not in wanted:
      shown, words = reprlib.repr(value), ', or '.join(wanted)
      raise UserError(f'{where}{key}={shown} must be {words}')
  return values


def missed(hint, value):
  """Returns what a value of the type must be, or None where it is that."""
  limits = getattr(hint, '__metadata__', ())
  kind = get_args(hint)[0] if limits else hint
  kind, items = get_origin(kind) or kind, get_args(kind)
  if kind is Literal:
    if any(value == item and _is(type(item), value) for item in items):
      return None
    *others, last = map(repr, items)
    return f'{", ".join(others)} or {last}'
  items = {tuple: items[:1], dict: items[1:]}.get(kind, ())
  fits = _is(kind, value)
  if fits and items:
    each = value.values() if kind is dict else value
    fits = all(_is(items[0], x) for x in each)
  if fits and all(limit.holds(value) for limit in limits):
    return None
  words = [': each '.join(KINDS[k][1] for k in (kind, *items) if k in KINDS)]
  if fits:
    words = []
  numeric = value if isinstance(value, numbers.Real) else 0
  return ', '.join(words + [limit.words(numeric) for limit in limits])


def _is(kind, value):
  if kind not in KINDS:
    return True
  if isinstance(value, bool):
    return kind is bool
  return isinstance(value, KINDS[kind][0])


def block(cls):
  """Returns the ConfigDict of a dataclass's defaults, blocks within it too."""
  c, kinds = ml_collections.ConfigDict(), hints(cls)
  for field in dataclasses.fields(cls):
    kind, default = kinds[field.name], field.default
    if dataclasses.is_dataclass(kind):
      default = block(kind)
    elif default is dataclasses.MISSING:
      default = field.default_factory()
    c[field.name] = default
  return c
