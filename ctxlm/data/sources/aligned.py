"""Files of which line i of one is line i of the others."""

import itertools

from ctxlm.data.sources import file_formats
from ctxlm.errors import UserError, note


def read(paths, source):
  """Yields (where, {field: line}) of lines that all have text.

  Args:
    paths: {field: path of a text file}.
    source: with the options of ctxlm.data.sources.files.Source.

  Raises:
    UserError: they have other numbers of lines; names each.
  """
  left_out = []
  columns = (file_formats.lines(path, source) for path in paths.values())
  rows = itertools.zip_longest(*columns)
  for number, row in enumerate(rows, 1):
    if None in row:
      _differ(paths, row, rows, number)
    if all(line.strip() for line in row):
      yield f'line {number} of the aligned files', dict(zip(paths, row))
    else:
      left_out.append(number)
  if left_out:
    note(
      f'{" and ".join(paths.values())}: {len(left_out)} lines of which one is '
      f'empty are left out, the first of them line {left_out[0]}'
    )


def _differ(paths, row, rows, number):
  counts = [number - (line is None) for line in row]
  for later in rows:
    counts = [n + (line is not None) for n, line in zip(counts, later)]
  said = ' and '.join(f'{p} has {n}' for p, n in zip(paths.values(), counts))
  raise UserError(
    f'line i of one file is to be line i of the others, and {said} lines'
  )
