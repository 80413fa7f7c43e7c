"""A file of prompts in, a file of texts out, which goes on where it stopped."""

import json
import math

from ctxlm import files
from ctxlm.decoding import stream
from ctxlm.errors import UserError
from ctxlm.inference import lines, outputs


def read(path=None):
  """Returns [{'prompt': text, ...}] of a file, a line each.

  Args:
    path: FILE.jsonl, of objects with a text "prompt", or with a dialogue's
      "messages", see data.dialogues; or another file, of prompts; None is
      standard input, of prompts.

  Raises:
    UserError: there is no such file, or a line that isn't so.
  """
  rows = []
  objects = path is not None and files.ending(path).lower() == '.jsonl'
  for i, line in enumerate(lines.read(path), 1):
    try:
      row = json.loads(line) if objects else {'prompt': line}
      if isinstance(asked(row), str) != ('prompt' in row):
        raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as e:
      raise UserError(
        f'{lines.named(path)}, line {i}: not an object with a text "prompt", '
        'or a list "messages"'
      ) from e
    rows.append(row)
  if not rows:
    raise UserError(f'{lines.named(path)} is empty')
  return rows


def answer(generator, encode, rows, batch_size):
  """Prints a line for each row of `read`, as `write_all` writes it."""
  prompts = _encoded(generator, encode, rows)
  answers = _answers(generator, prompts, batch_size)
  for first in range(0, len(rows), batch_size):
    part = rows[first : first + batch_size]
    for row, own in zip(part, answers(first, first + len(part)), strict=True):
      print(outputs.line(row | own), end='', flush=True)


def write_all(generator, encode, rows, path, batch_size, settings):
  """Writes a line for each row: the row, and its "texts".

  With show_probs also "tokens" and "probabilities", of beams "scores".

  Args:
    generator, encode: see ctxlm.inference.writing.
    rows: of `read`.
    path: jsonl to write, or to go on with.
    batch_size: prompts at a time.
    settings: what the texts hang on; a file of others is not gone on with.

  Raises:
    UserError: a row that can't be a prompt, or another's file.
  """
  prompts = _encoded(generator, encode, rows)
  outputs.write_all(
    _answers(generator, prompts, batch_size),
    rows,
    path,
    batch_size,
    settings,
    asked,
    word='prompt',
    names=('texts', 'scores', 'tokens', 'probabilities'),
  )


def asked(row):
  """Returns what of a row is asked: its prompt, or its messages."""
  (name,) = (name for name in ('prompt', 'messages') if name in row)
  return row[name]


def _encoded(generator, encode, rows):
  prompts = []
  for i, row in enumerate(rows, 1):
    try:
      ids = encode(asked(row))
      generator.check(ids)
    except UserError as e:
      raise UserError(f'--input, line {i}: {e}') from e
    prompts.append(ids)
  return prompts


def _answers(generator, prompts, batch_size):
  # Returns (first, last) -> what is written for each of these prompts.
  def answers(first, last):
    written = generator(prompts[first:last], first, batch_size)
    return [_answer(generator, texts) for texts in written]

  return answers


def _answer(generator, texts):
  cleaned = [stream.clean(generator, one['tokens']) for one in texts]
  row = {'texts': cleaned}
  if 'scores' in texts[0]:
    row['scores'] = [float(one['scores']) for one in texts]
  if generator.config.show_probs:
    row['tokens'] = [generator.tokenizer.pieces(x['tokens']) for x in texts]
    row['probabilities'] = [
      [round(math.exp(logp), 6) for logp in one['logps']] for one in texts
    ]
  return row
