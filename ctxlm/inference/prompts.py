"""A file of prompts in, a file of texts out, which goes on where it stopped."""

import contextlib
import json
import math
import os
import time
from pathlib import Path

import jax

from ctxlm import files, locks
from ctxlm.decoding import stream
from ctxlm.errors import UserError, naming
from ctxlm.inference import lines
from ctxlm.training import tracking


def read(path=None):
  """Returns [{'prompt': text, ...}] of a file, a line each.

  Args:
    path: FILE.jsonl, of objects with a text "prompt", or another, of prompts;
      None is standard input, of prompts.

  Raises:
    UserError: there is no such file, or a line that isn't so.
  """
  rows, objects = [], path is not None and Path(path).suffix == '.jsonl'
  for i, line in enumerate(lines.read(path), 1):
    try:
      row = json.loads(line) if objects else {'prompt': line}
      if not isinstance(row['prompt'], str):
        raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as e:
      raise UserError(
        f'{lines.named(path)}, line {i}: not an object with a text "prompt"'
      ) from e
    rows.append(row)
  if not rows:
    raise UserError(f'{lines.named(path)} is empty')
  return rows


def answer(generator, encode, path, batch_size):
  """Prints a line for each prompt of a file, as `write_all` writes it."""
  rows = read(path)
  prompts = _encoded(generator, encode, rows)
  for part, texts in _batches(generator, rows, prompts, 0, batch_size):
    for row, own in zip(part, texts, strict=True):
      print(_line(generator, row, own), end='', flush=True)


def begin_output(path, settings, rows):
  """Returns how many lines of an output are done, having cut a broken one.

  Raises:
    UserError: the file is of other settings or prompts.
  """
  path, note = Path(path), Path(f'{path}.settings.json')
  text = json.dumps(settings, indent=2) + '\n'
  if not path.exists():
    files.write_text(note, text)
    path.touch()
    return 0
  if not note.exists() or note.read_bytes() != text.encode():
    raise UserError(
      f'--output {path} was written with other settings; use another file'
    )
  whole = path.read_bytes()
  whole = whole[: whole.rfind(b'\n') + 1]
  done = whole.split(b'\n')[:-1]
  if len(done) > len(rows):
    raise UserError(
      f'--output {path} is of other prompts than --input; use another file'
    )
  for number, (line, row) in enumerate(zip(done, rows), 1):  # noqa: B905
    try:
      prompt = json.loads(line)['prompt']
    except (ValueError, KeyError, TypeError, RecursionError) as e:
      raise UserError(
        f'--output {path}, line {number} is no line that was written here: '
        'remove it and those after it, or use another file'
      ) from e
    if prompt != row['prompt']:
      raise UserError(
        f'--output {path}, line {number} is of another prompt than --input; '
        'use another file'
      )
  os.truncate(path, len(whole))
  return len(done)


def write_all(generator, encode, rows, path, batch_size, settings):
  """Writes a line for each row: the row, and its "texts".

  With show_probs also "tokens" and "probabilities", of beams "scores".

  Args:
    generator, encode: see ctxlm.inference.writing.
    rows: objects with "prompt".
    path: jsonl to write, or to go on with.
    batch_size: prompts at a time.
    settings: what the texts hang on; a file of others is not gone on with.

  Raises:
    UserError: a row that can't be a prompt, or another's file.
  """
  prompts = _encoded(generator, encode, rows)
  with contextlib.ExitStack() as held:
    if jax.process_index() == 0:
      held.enter_context(contextlib.closing(locks.Lock.of_output(path)))
    _write(generator, rows, prompts, path, batch_size, settings)


def _encoded(generator, encode, rows):
  prompts = []
  for i, row in enumerate(rows, 1):
    try:
      ids = encode(row['prompt'])
      generator.check(ids)
    except UserError as e:
      raise UserError(f'--input, line {i}: {e}') from e
    prompts.append(ids)
  return prompts


def _batches(generator, rows, prompts, done, batch_size):
  # Yields (rows, the texts of each) from row `done` on.
  while done < len(rows):
    part = rows[done : done + batch_size]
    yield part, generator(prompts[done : done + len(part)], done, batch_size)
    done += len(part)


def _write(generator, rows, prompts, path, batch_size, settings):
  done = 0
  if jax.process_index() == 0:
    done = begin_output(path, settings, rows)
  progress = tracking.Progress(len(rows), done, 'prompt')
  start, first, shown = time.monotonic(), done, 0.0
  for part, texts in _batches(generator, rows, prompts, done, batch_size):
    if jax.process_index() == 0:
      with naming(path), open(path, 'a', encoding='utf-8') as f:
        for row, own in zip(part, texts, strict=True):
          f.write(_line(generator, row, own))
    done += len(part)
    progress.advance(done)
    seconds = time.monotonic() - start
    if seconds - shown > 10 or done == len(rows):
      shown, rate = seconds, (done - first) / seconds
      progress.show(done, f'{rate:.2f} prompts/s', (len(rows) - done) / rate)
  progress.close()


def _line(generator, row, texts):
  cleaned = [stream.clean(generator, one['tokens']) for one in texts]
  row = row | {'texts': cleaned}
  if 'scores' in texts[0]:
    row['scores'] = [float(one['scores']) for one in texts]
  if generator.config.show_probs:
    row['tokens'] = [generator.tokenizer.pieces(x['tokens']) for x in texts]
    row['probabilities'] = [
      [round(math.exp(logp), 6) for logp in one['logps']] for one in texts
    ]
  text = json.dumps(row, ensure_ascii=False)
  try:
    text.encode()
  except UnicodeEncodeError:  # half of a surrogate pair, which only JSON writes
    text = json.dumps(row)
  return text + '\n'
