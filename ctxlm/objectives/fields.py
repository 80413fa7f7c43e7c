"""Fields of a record that an objective reads, and what is said of wrong ones.

`objective` is its name, and `number` which record it is, or None.
"""

from ctxlm.errors import UserError


def which(objective, number=None):
  """Returns what a message calls a record."""
  what = 'a record' if number is None else f'record {number}'
  return f'objective {objective}: {what}'


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


def _wanting(record, name, kind='field'):
  # What is said of one that isn't there, or is none of its kind.
  if name in record:
    kind = 'value' if kind == 'field' else kind
    return f'has no {kind} in {name!r}: {record[name]!r}'
  return (
    f'lacks the {kind} {name!r}; it has {sorted(record)}: name it in '
    f'config.tasks.NAME.data.fields, or by --data FILE:{name}=FIELD'
  )
