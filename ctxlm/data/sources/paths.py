"""Fields by path, for what is nested: 'data.*.paragraphs.*.qas.*.question'.

A name leads into an object, a number to an item of a list, and '*' makes a
record of each item. A name of a list's items is the list of theirs, so that
'answers.text' is all texts of the answers; '+' joins a list's texts by spaces,
as in 'sentences.+'. A field whose whole name is the path comes first, dots or
not.
"""

import itertools
import reprlib

from ctxlm import plugins
from ctxlm.errors import UserError

MOST = 10  # names that a message lists


def starred(fields):
  """Returns whether `fields`, {new: path}, make records of a list's items."""
  return any('*' in path.split('.') for path in (fields or {}).values())


def check(fields):
  """Raises ValueError unless `fields` are paths, through lists that are nested.

  >>> check({'text': 'data.*.rows.*.text', 'title': 'data.*.title'})
  """
  for new, path in fields.items():
    if not (isinstance(path, str) and path):
      raise ValueError(f'fields: {new!r} must name a field, not {path!r}')
  stars = {_stars(path.split('.')) for path in fields.values()}
  stars = sorted(stars, key=lambda parts: (len(parts), parts))
  for outer, inner in zip(stars, stars[1:]):
    if inner[: len(outer)] != outer:
      raise ValueError(
        f'fields: the lists {".".join(outer)} and {".".join(inner)} are not one'
        ' in the other, so a record is of either'
      )


def _stars(parts):
  # What of a path leads to its last '*'.
  return tuple(parts[: len(parts) - [*reversed(parts), '*'].index('*')])


def leaves(record, fields, where):
  """Yields {new: value} of each item of the innermost list: one, without '*'.

  What stands above an item is repeated for each.

  Args:
    record: what JSON holds.
    fields: {new: path}.
    where: what a message begins with, such as 'a.json, line 3,'.

  Raises:
    UserError: there is no such field, or no list where '*' is; lists the
      fields that are there.
  """
  ways = {
    new: [path] if _has(record, path) else path.split('.')
    for new, path in fields.items()
  }
  for found in _leaves(record, ways, [], where):
    yield {new: found[new] for new in fields}


def _has(record, name):
  return isinstance(record, dict) and name in record


def _leaves(value, ways, above, where):
  found, inner, lead = {}, {}, None
  for new, way in ways.items():
    if '*' in way:
      lead = way[: way.index('*')]
      inner[new] = way[len(lead) + 1 :]
    else:
      found[new] = _value(value, way, above, where)
  if lead is None:
    yield found
    return
  items = _value(value, lead, above, where)
  above = [*above, *lead, '*']
  if not isinstance(items, list):
    raise UserError(
      f"{where} has no list where '*' of {'.'.join(above)!r} stands, but "
      f'{_kind(items)}'
    )
  for item in items:
    for leaf in _leaves(item, inner, above, where):
      yield {**found, **leaf}


def _value(value, way, above, where):
  for n, name in enumerate(way):
    if name == '+' and isinstance(value, list):
      value = _joined(value, [*above, *way[:n]], where)
    elif isinstance(value, list) and not name.isdecimal():
      walked = [*above, *way[:n], '*']
      for item in value:
        if not _has(item, name):
          raise UserError(f'{where} {_lacks(item, name, walked)}')
      value = [item[name] for item in value]
    elif isinstance(value, list) and int(name) < len(value):
      value = value[int(name)]
    elif _has(value, name):
      value = value[name]
    else:
      raise UserError(f'{where} {_lacks(value, name, [*above, *way[:n]])}')
  return value


def _joined(value, above, where):
  for item in value:
    if not isinstance(item, str):
      raise UserError(
        f'{where} has {_kind(item)} among the texts of {".".join(above)!r}'
      )
  return ' '.join(value)


def _lacks(value, name, above):
  if isinstance(value, dict):
    return lacks(name, value, '.'.join(above))
  if isinstance(value, list) and name.isdecimal():
    what = f'a list of {len(value)} in place of an item {name}'
  else:
    what = f'{_kind(value)} in place of an object with {name!r}'
  return f'has {what} at {".".join(above)!r}'


def lacks(name, known, at=''):
  """Returns 'has no field ...', and which there are, the nearest first."""
  some = (str(k)[:100] for k in itertools.islice(known, 1000))
  near = plugins.nearest(name, some)[:MOST]
  more = f' and {len(known) - MOST} more' if len(known) > MOST else ''
  # A stranger's names may be long, or of several lines.
  there = f'It has: {", ".join(map(reprlib.repr, near))}{more}.'
  there = there if near else 'It is empty.'
  return f'has no field {name!r}{f" in {at!r}" if at else ""}. {there}'


def _kind(value):
  names = {dict: 'an object', list: 'a list', str: 'a text', bool: 'a boolean'}
  return names.get(type(value), 'nothing' if value is None else 'a number')
