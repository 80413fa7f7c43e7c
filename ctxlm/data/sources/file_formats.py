"""Readers of text files: `reader(path, source)` yields records.

All are UTF-8, with or without a byte order mark; `source` has the options of
`ctxlm.data.sources.files.Source`. Files are read line by line.
"""

import csv
import json

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.files import lines

SEPARATORS = ('blank_line', 'line', 'file')


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
  """One JSON object a line; each has the fields that are asked for."""
  wanted = (source.fields or {}).values()
  for number, line in enumerate(lines(path), 1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
    except ValueError as e:
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


def read_csv(path, source):
  """Comma-separated values, quoted as spreadsheets do."""
  stream = (line + '\n' for line in lines(path))
  yield from _table(path, source, csv.reader(stream, strict=True))


def read_tsv(path, source):
  """Tab-separated values; quotation marks mean nothing, as in GLUE."""
  stream = (line + '\n' for line in lines(path))
  reader = csv.reader(stream, delimiter='\t', quoting=csv.QUOTE_NONE)
  yield from _table(path, source, reader)


def _table(path, source, reader):
  columns = list(source.columns)
  try:
    for row in reader:
      if not row:
        continue
      if not columns:
        columns = row
        continue
      if len(row) != len(columns):
        raise UserError(
          f'{path}, line {reader.line_num}, has {len(row)} fields, not '
          f'{len(columns)} as {columns}'
        )
      yield dict(zip(columns, row))
  except csv.Error as e:
    raise UserError(f'{path}, line {reader.line_num}: {e}') from e


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
