"""Readers of text files: `reader(path, source)` yields records.

All are UTF-8, with or without a byte order mark; `source` has the options of
`ctxlm.data.sources.files.Source`. Files are read line by line.
"""

import csv
import json
import re

from ctxlm import plugins
from ctxlm.errors import UserError, note
from ctxlm.files import lines

csv.field_size_limit(2**31 - 1)  # its own is 131,072 characters
SEPARATORS = ('blank_line', 'line', 'file')
_SURROGATE = re.compile('[\ud800-\udfff]')


def read_text(path, source):
  """Documents of plain text: {'text'}."""
  document = []
  for line in lines(path):
    if source.separator == 'line':
      document = [line]
    elif line.strip() or source.separator == 'file':
      document.append(line)
      continue
    if any(d.strip() for d in document):
      yield {'text': '\n'.join(document).strip('\n')}
    document = []
  if any(d.strip() for d in document):
    yield {'text': '\n'.join(document).strip('\n')}


def read_jsonl(path, source):
  """One JSON object a line; each has the fields that are asked for.

  Half a surrogate pair, which JSON can escape and UTF-8 can't hold, is read as
  U+FFFD, and a line says so.
  """
  wanted = (source.fields or {}).values()
  halves = []
  for number, line in enumerate(lines(path), 1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
      if '\\u' in line:
        plain = json.dumps(record, ensure_ascii=False)
        if _SURROGATE.search(plain):
          record = json.loads(_SURROGATE.sub('\ufffd', plain))
          halves.append(number)
    except (ValueError, RecursionError) as e:
      raise UserError(f'{path}, line {number}, is not JSON: {e}') from e
    if not isinstance(record, dict):
      raise UserError(f'{path}, line {number}, is no JSON object')
    for name in wanted:
      if name not in record:
        raise UserError(
          f'{path}, line {number}, has no field {name!r}.'
          + plugins.suggest(name, record)
        )
    yield record
  if halves:
    note(
      f'{path}: half a surrogate pair is read as U+FFFD in {len(halves)} lines,'
      f' the first of them line {halves[0]}'
    )


def read_csv(path, source):
  """Comma-separated values, quoted as spreadsheets do."""
  reader = csv.reader((line + '\n' for line in lines(path)), strict=True)
  try:
    rows = ((reader.line_num, row) for row in reader)
    yield from _table(path, source, rows)
  except csv.Error as e:
    raise UserError(f'{path}, line {reader.line_num}: {e}') from e


def read_tsv(path, source):
  """Tab-separated values; quotation marks mean nothing, as in GLUE."""
  rows = (line.split('\t') if line else [] for line in lines(path))
  yield from _table(path, source, enumerate(rows, 1))


def _table(path, source, rows):
  columns = list(source.columns)
  for number, row in rows:
    if not row:
      continue
    if not columns:
      columns = row
      twice = sorted({c for c in row if c and row.count(c) > 1})
      if twice:
        note(f'{path}: of the columns named {twice[0]!r} the last is read')
      continue
    if len(row) != len(columns):
      raise UserError(
        f'{path}, line {number}, has {len(row)} fields, not '
        f'{len(columns)} as {columns}'
      )
    yield dict(zip(columns, row))


def number(text):
  """Returns the int or float that a text is, or else the text."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text


FORMATS = {
  'text': read_text,
  'jsonl': read_jsonl,
  'csv': read_csv,
  'tsv': read_tsv,
}
