"""Readers of files: `reader(path, source)` yields (where, record).

`where` is what a message on the record begins with. Text may have a byte order
mark; `source` has the options of `ctxlm.data.sources.files.Source`, such as its
encoding. Files are read line by line, but for JSON of many lines.
"""

import csv
import json
import math
import re
import string

from ctxlm import files
from ctxlm.data.sources import arrow, paths
from ctxlm.errors import UserError, note

csv.field_size_limit(2**31 - 1)  # its own is 131,072 characters
MOST_JSON = 2**30  # characters of a file that is read whole
MOST_DEEP = 100  # lists and objects of JSON in each other, as in Parquet
SEPARATORS = ('blank_line', 'line', 'file')
_SURROGATE = re.compile('[\ud800-\udfff]')


def lines(path, source):
  """Yields a file's lines, see `files.lines`."""
  hint = 'say --config.tasks.NAME.data.encoding=latin-1, or what it is, or '
  return files.lines(path, source.encoding, hint)


def read_text(path, source):
  """Documents of plain text: {'text'}; or a record a line, see `pattern`."""
  if source.line:
    yield from _read_lines(path, source)
    return
  for lines_ in _blocks(path, source, source.separator):
    if any(line.strip() for line in lines_):
      yield path, {'text': '\n'.join(lines_).strip('\n')}


def _read_lines(path, source):
  start, fields = pattern(source.line)
  for number, line in enumerate(lines(path, source), 1):
    if not line.strip():
      continue
    where, record = f'{path}, line {number},', {}
    rest, found = line.removeprefix(start), line.startswith(start)
    for name, end in fields:
      record[name], cut, rest = rest.partition(end) if end else (rest, 1, '')
      found = found and cut
    if not found or rest:
      raise UserError(
        f'{where} is not as line={source.line!r} has it: {line[:60]!r}'
      )
    yield where, record


def pattern(line):
  """Returns (what a line begins with, [(field, what ends it)]) of a template.

  No regular expression, as some of those take for ever.

  Raises:
    ValueError: it is none; says why.

  >>> pattern('__label__{label} {text}')
  ('__label__', [('label', ' '), ('text', '')])
  """
  texts, names, odd = [''], [], False
  for text, name, *spec in string.Formatter().parse(line):
    texts[-1] += text
    if name is not None:
      names.append(name)
      texts.append('')
      odd |= spec != ['', None] or not name.isidentifier()
  if odd or not names:
    raise ValueError(
      f"line={line!r} has no fields, such as '{{label}} {{text}}'"
    )
  if '' in texts[1:-1] or len({*names}) < len(names):
    raise ValueError(
      f'line={line!r}: fields have names of their own, and text between them'
    )
  return texts[0], list(zip(names, texts[1:]))


def _blocks(path, source, separator):
  # Lists of lines, one a document.
  block = []
  for line in lines(path, source):
    if separator == 'line':
      block = [line]
    elif line.strip() or separator == 'file':
      block.append(line)
      continue
    yield block
    block = []
  yield block


def read_conll(path, source):
  """A word a line and a blank line between sentences: each column a list.

  Columns are apart by tabs, or else by spaces. What marks the begin of a
  document, -DOCSTART-, is left out.
  """
  columns = source.columns
  if not columns:
    raise UserError(
      f"{path}: set columns, such as ('tokens', 'tags'), for format 'conll'"
    )
  begin = 1
  for block in _blocks(path, source, 'blank_line'):
    rows = [r.split('\t') if '\t' in r else r.split() for r in block]
    for number, row in enumerate(rows, begin):
      _check_row(row, columns, f'{path}, line {number},')
    if rows and rows[0][0] != '-DOCSTART-':
      yield f'{path}, line {begin},', dict(zip(columns, map(list, zip(*rows))))
    begin += len(rows) + 1


def read_jsonl(path, source):
  """One JSON object a line."""
  halves = []
  for number, line in enumerate(lines(path, source), 1):
    if line.strip():
      where = f'{path}, line {number},'
      record, half = _parse(line, where)
      halves += [number] * half
      yield where, _an_object(record, where)
  if halves:
    _note_halves(
      path, f'in {len(halves)} lines, the first of them line {halves[0]}'
    )


def read_json(path, source):
  """JSON of many lines: a list of objects, or one; or an object a line."""
  try:
    content = _whole(path, source)
  except UserError as e:
    if 'Extra data' not in str(e):
      raise
    yield from read_jsonl(path, source)
    return
  if isinstance(content, list):
    for number, record in enumerate(content, 1):
      where = f'{path}, record {number},'
      yield where, _an_object(record, where)
  else:
    yield path, _an_object(content, path)


def read_squad(path, source):
  """Questions of SQuAD's own file, 1.1 or 2.0, as others' tables have them.

  {'id', 'title', 'context', 'question', 'answers': {'text': [...],
  'answer_start': [...]}}, where a question that has no answer has none of
  either.
  """
  above = 'data.*.paragraphs.*'
  fields = {
    'id': f'{above}.qas.*.id',
    'title': 'data.*.title',
    'context': f'{above}.context',
    'question': f'{above}.qas.*.question',
    'text': f'{above}.qas.*.answers.text',
    'answer_start': f'{above}.qas.*.answers.answer_start',
  }
  for record in paths.leaves(_whole(path, source), fields, path):
    answers = {k: record.pop(k) for k in ('text', 'answer_start')}
    yield f'{path}, question {record["id"]!r},', {**record, 'answers': answers}


def _whole(path, source):
  parts, size = [], 0
  for line in lines(path, source):
    parts.append(line)
    size += len(line) + 1
    if size > MOST_JSON:
      raise UserError(
        f'{path} is more than {MOST_JSON >> 20} MB of JSON, which is read '
        "whole: if it has an object a line, set format='jsonl', or else make "
        'it so'
      )
  content, half = _parse('\n'.join(parts), path)
  if half:
    _note_halves(path, 'in it')
  return content


def _parse(text, where):
  """Returns what JSON holds, and whether it has half a surrogate pair.

  JSON can escape one and UTF-8 can't hold it: it is read as U+FFFD.
  """
  half = None
  try:
    value = json.loads(text)
    if '\\u' in text:
      plain = json.dumps(value, ensure_ascii=False)
      half = _SURROGATE.search(plain)
      value = json.loads(_SURROGATE.sub('\ufffd', plain)) if half else value
  except (ValueError, RecursionError) as e:
    raise UserError(f'{where} is not JSON: {e}') from e
  if text.count('[') + text.count('{') > MOST_DEEP:
    _check_depth(value, where)
  return value, bool(half)


def _check_depth(value, where):
  # What reads records later has less of Python's stack left.
  level = [value] if isinstance(value, (dict, list)) else []
  for _ in range(MOST_DEEP):
    level = [
      inner
      for outer in level
      for inner in (outer.values() if isinstance(outer, dict) else outer)
      if isinstance(inner, (dict, list))
    ]
  if level:
    raise UserError(f'{where} is nested more than {MOST_DEEP} deep')


def _an_object(record, where):
  if not isinstance(record, dict):
    raise UserError(f'{where} is no JSON object')
  return record


def _note_halves(path, places):
  note(f'{path}: half a surrogate pair is read as U+FFFD {places}')


def read_csv(path, source):
  """Comma-separated values, quoted as spreadsheets do."""
  reader = csv.reader(
    (line + '\n' for line in lines(path, source)), strict=True
  )
  try:
    rows = ((reader.line_num, row) for row in reader)
    yield from _table(path, source, rows)
  except csv.Error as e:
    raise UserError(f'{path}, line {reader.line_num}: {e}') from e


def read_tsv(path, source):
  """Tab-separated values; quotation marks mean nothing, as in GLUE."""
  rows = (line.split('\t') if line else [] for line in lines(path, source))
  yield from _table(path, source, enumerate(rows, 1))


def _table(path, source, rows):
  columns = list(source.columns)
  for number, row in rows:
    if not row:
      continue
    if not columns:
      columns = [name.strip() for name in row]
      for mark, word in ((';', 'semicolons'), ('\t', 'tabs')):
        if len(row) == 1 and mark in row[0]:
          raise UserError(
            f'{path}: its columns are apart by {word}: save it with commas as '
            '.csv, or with tabs as .tsv'
          )
      twice = sorted({c for c in columns if c and columns.count(c) > 1})
      if twice:
        note(f'{path}: of the columns named {twice[0]!r} the last is read')
      continue
    where = f'{path}, line {number},'
    _check_row(row, columns, where)
    yield where, dict(zip(columns, row))


def _check_row(row, columns, where):
  if len(row) != len(columns):
    raise UserError(
      f'{where} has {len(row)} fields, not {len(columns)} as {list(columns)}'
    )


def number(text):
  """Returns the number that a text is if it is written as one is, or the text.

  >>> number('12'), number('-0.5'), number('1.10'), number('007'), number('nan')
  (12, -0.5, '1.10', '007', 'nan')
  """
  for kind in (int, float):
    try:
      value = kind(text)
    except ValueError:
      continue
    if math.isfinite(value) and str(value) == text:
      return value
  return text


FORMATS = {
  'text': read_text,
  'jsonl': read_jsonl,
  'json': read_json,
  'csv': read_csv,
  'tsv': read_tsv,
  'parquet': arrow.read_parquet,
  'conll': read_conll,
  'squad': read_squad,
}
