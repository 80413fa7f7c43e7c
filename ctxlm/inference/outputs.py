"""A jsonl of answers, a line for each of many rows, gone on with if stopped."""

import contextlib
import json
import os
import time
from pathlib import Path

import jax

from ctxlm import files
from ctxlm.errors import UserError, naming
from ctxlm.parallel import locks
from ctxlm.training import tracking


def begin(path, settings, rows, asked, word):
  """Returns how many lines of an output are done, having cut a broken one.

  Args:
    path: of the jsonl.
    settings: what the answers hang on, beside the rows.
    rows: list of dicts.
    asked: (row) -> what of it is asked; a line's must be that of its row.
    word: what a row is called, such as 'prompt'.

  Raises:
    UserError: the file is of other settings or rows.
  """
  path, note = Path(path), Path(f'{path}.settings.json')
  text = json.dumps(settings, indent=2) + '\n'
  if not path.exists():
    files.write_text(note, text)
    path.touch()
    return 0
  if not note.exists():
    raise UserError(f'--output {path} is there, and was not written by ctxlm')
  if note.read_bytes() != text.encode():
    raise UserError(
      f'--output {path} was written with other settings; use another file'
    )
  whole = path.read_bytes()
  whole = whole[: whole.rfind(b'\n') + 1]
  done = whole.split(b'\n')[:-1]
  if len(done) > len(rows):
    raise UserError(
      f'--output {path} is of other {word}s than --input; use another file'
    )
  for number, (line, row) in enumerate(zip(done, rows), 1):  # noqa: B905
    try:
      found = asked(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as e:
      raise UserError(
        f'--output {path}, line {number} is no line that was written here: '
        'remove it and those after it, or use another file'
      ) from e
    if found != asked(row):
      raise UserError(
        f'--output {path}, line {number} is of another {word} than --input; '
        'use another file'
      )
  os.truncate(path, len(whole))
  return len(done)


def write_all(answer, rows, path, batch_size, settings, asked, word, names):
  """Writes a line for each row: the row, and its answer.

  Args:
    answer: (first, last) -> a dict for each of rows[first:last].
    rows, settings, asked, word: see `begin`.
    path: jsonl to write, or to go on with.
    batch_size: rows at a time.
    names: of the fields of an answer; no row may have one itself.

  Raises:
    UserError: the file is another's, or of other settings or rows; a row has a
      field that its answer would stand in place of.
  """
  _need_folder(path)
  for number, row in enumerate(rows, 1):
    for name in names:
      if name in row:
        raise UserError(
          f'--input, {word} {number} has a field {name!r} itself, where its '
          'answer goes: give it another name'
        )
  with contextlib.ExitStack() as held:
    if jax.process_index() == 0:
      held.enter_context(contextlib.closing(locks.Lock.of_output(path)))
    _write(answer, rows, path, batch_size, settings, asked, word)


def _need_folder(path):
  if not Path(path).resolve().parent.is_dir():
    raise UserError(f'--output {path}: name a file in a folder that is there')


def _write(answer, rows, path, batch_size, settings, asked, word):
  done = 0
  if jax.process_index() == 0:
    done = begin(path, settings, rows, asked, word)
  progress = tracking.Progress(len(rows), done, word)
  start, first, shown = time.monotonic(), done, 0.0
  while done < len(rows):
    part = rows[done : done + batch_size]
    answers = answer(done, done + len(part))
    if jax.process_index() == 0:
      with naming(path), open(path, 'a', encoding='utf-8') as f:
        for row, own in zip(part, answers, strict=True):
          f.write(line(row | own))
    done += len(part)
    progress.advance(done)
    seconds = time.monotonic() - start
    if seconds - shown > 10 or done == len(rows):
      shown, rate = seconds, (done - first) / seconds
      progress.show(done, f'{rate:.2f} {word}s/s', (len(rows) - done) / rate)
  progress.close()


def need_new(path):
  """Raises UserError if a file can't be made there, or is there already."""
  _need_folder(path)
  if Path(path).exists():
    raise UserError(f'--output {path} is there already: name another file')


def write_new(path, rows):
  """Writes all lines of a jsonl at once; see `need_new`."""
  if jax.process_index() == 0:
    files.write_text(Path(path), ''.join(map(line, rows)))


def line(row):
  """Returns a row as a line of jsonl."""
  text = json.dumps(row, ensure_ascii=False)
  try:
    text.encode()
  except UnicodeEncodeError:  # half of a surrogate pair, which only JSON writes
    text = json.dumps(row)
  return text + '\n'
