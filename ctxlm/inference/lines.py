"""Texts a line in, answers a line out: of a file, or of standard input."""

import itertools
import json
import sys

from ctxlm import files
from ctxlm.errors import UserError

STDIN = '/dev/stdin'
TOGETHER = 64  # lines that are answered at a time


def read(path=None):
  """Yields the lines of a file; None is standard input.

  Raises:
    UserError: there is no such file, or it is not UTF-8.
  """
  if path is None and sys.stdin.isatty():
    print('a text a line; control-D ends them', file=sys.stderr)
  try:
    yield from files.lines(STDIN if path is None else path)
  except UserError as e:
    said = str(e).replace(STDIN, 'standard input')
    raise UserError(said if path is None else f'--input: {said}') from e


def check_one(F):
  """Raises UserError if a verb was given both --text and --input."""
  if F.text is not None and F.input is not None:
    raise UserError('give --text or --input, and not both')


def named(path):
  """Returns how a user calls the source of the lines."""
  return 'standard input' if path is None else f'--input {path}'


def answers(path, function):
  """Yields (text, answer) for each line, in their order.

  Args:
    path: of the file, or None.
    function: function of a list of texts that gives a list of answers.

  Raises:
    UserError: a line that has no answer, with its number; those before it have
      been answered.
  """
  together = 1 if path is None and sys.stdin.isatty() else TOGETHER
  lines, first = read(path), 1
  while texts := list(itertools.islice(lines, together)):
    try:
      yield from zip(texts, function(texts), strict=True)
    except UserError:
      yield from _one_by_one(texts, function, first)
    first += len(texts)
  if first == 1:
    raise UserError(
      f'{named(path)} is empty: give --text TEXT, or a text a line'
    )


def _one_by_one(texts, function, first):
  for number, text in enumerate(texts, first):
    try:
      (answer,) = function([text])
    except UserError as e:
      raise UserError(f'line {number}: {e}') from e
    yield text, answer


def write(row):
  """Prints a mapping as a line of JSON."""
  print(json.dumps(row, ensure_ascii=False), flush=True)


def only(path):
  """Returns the text of a file, or of standard input, that has one line.

  Raises:
    UserError: it has none, or more.
  """
  texts = list(itertools.islice(read(path), 2))
  if len(texts) != 1:
    raise UserError(
      f'{named(path)} must have one line, the text; or give --text TEXT'
    )
  return texts[0]
