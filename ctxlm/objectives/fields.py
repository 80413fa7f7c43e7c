"""Fields of a record that an objective reads, and what is said of wrong ones.

`objective` is its name, and `number` which record it is, or None.
"""

import itertools
import math

from ctxlm.errors import UserError


def which(objective, number=None):
  """Returns what a message calls a record."""
  what = 'a record' if number is None else f'record {number}'
  return f'objective {objective}: {what}'


def beside(record, name):
  """Returns what else a record has, by which its place in a file is found.

  >>> beside({'text': '', 'label': 'good', 'note': 'x' * 99}, 'text')[:46]
  "; beside it stand label='good', note='xxxxxxxx"
  """
  others = (f'{k}={v!r:.40}' for k, v in record.items() if k != name)
  told = ', '.join(itertools.islice(others, 3))
  return told and f'; beside it stand {told}'


def get(objective, record, name, number=None):
  """Returns a field; raises UserError if the record lacks it."""
  if record.get(name) is None:
    raise UserError(f'{which(objective, number)} {_wanting(record, name)}')
  return record[name]


def text(objective, record, name, number=None):
  """Returns a field that is a text; raises UserError if it is none."""
  value = get(objective, record, name, number)
  if not isinstance(value, str) or not value.strip():
    raise UserError(
      f'{which(objective, number)} has no text in {name!r}: {value!r}'
      f'{beside(record, name)}'
    )
  return value


def items(objective, record, name, number=None):
  """Returns a field that is a list; raises UserError if it is none."""
  value = record.get(name)
  if not isinstance(value, (list, tuple)):
    raise UserError(
      f'{which(objective, number)} {_wanting(record, name, "list")}'
    )
  return value


def in_order(names):
  """Returns the names of labels as a tuple: numbers by size, then the others.

  >>> in_order({'b', '10', '9', 'a'})
  ('9', '10', 'a', 'b')
  """

  def order(name):
    value = _number(name)
    return (1, 0.0, name) if value is None else (0, value, name)

  return tuple(sorted(names, key=order))


def place(places, name):
  """Returns the place of a label, or None.

  Data may have the place itself, but not where labels are numbers: one that is
  none of them would be taken for another.

  Args:
    places: {label: place}.
    name: of a label.

  >>> place({'bad': 0, 'good': 1}, '1'), place({'1': 0, '2': 1, '5': 2}, '0')
  (1, None)
  """
  if name in places:
    return places[name]
  if not name.isdecimal() or int(name) >= len(places):
    return None
  return int(name) if all(_number(one) is None for one in places) else None


def numbers(names):
  """Whether labels are written as numbers, all of them."""
  return all(_number(str(name)) is not None for name in names)


def _number(name):
  try:
    value = float(name)
  except ValueError:
    return None
  return value if math.isfinite(value) else None


def _wanting(record, name, kind='field'):
  # What is said of one that isn't there, or is none of its kind.
  if name in record:
    kind = 'value' if kind == 'field' else kind
    return f'has no {kind} in {name!r}: {record[name]!r}'
  return (
    f'lacks the {kind} {name!r}; it has {sorted(record)}: name it in '
    f'config.tasks.NAME.data.fields, or by --data FILE:{name}=FIELD'
  )
