"""Examples of which a part is an answer, packed whole into fixed rows."""

import functools

import numpy as np

from ctxlm import files
from ctxlm.data.views import packing, windows
from ctxlm.errors import UserError, note

VERSION = 1  # raise it whenever rows change
OPEN = 16  # rows that are not full, of which each example takes the first


class View(windows.View):
  """Rows of examples, none of them cut, and which of their tokens are answers.

  Each example is a segment of its row, so that none sees another.
  """

  _opened = ('_rows', '_answers')

  @classmethod
  def open(cls, base, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View; the objective gives a record's `examples`.

    Answers that are empty, or have no room, are left out, and their number is
    said.

    Raises:
      UserError: a record that can't be read, with its number; or no answer
        has room.
    """
    key = files.digest(
      'answers', VERSION, fingerprint, tokenizer.fingerprint,
      tokenizer.special_in_data, max_length, *objective.reads,
    )  # fmt: skip

    def build(folder):
      write(folder, base, tokenizer, max_length, objective)

    view = cls(files.folder('answers', key, build), key)
    if left_out := view.meta['left_out']:
      note(
        f'{left_out} of {view.meta["examples"]} answers are left out, the '
        f'first of record {view.meta["first"]}: they are empty, or with what '
        f'they answer they have no room in max_length={max_length}'
      )
    return view

  @functools.cached_property
  def _answers(self):
    shape = len(self), self.length
    return np.memmap(self.folder / 'answers', np.bool_, 'r', shape=shape)

  def read(self, i, rng):
    """Returns what windows.View does, and 'answers' bool [length]."""
    return super().read(i, rng) | {'answers': np.array(self._answers[i])}


def write(folder, base, tokenizer, length, objective):
  """Writes the rows of all records; see packing.save."""
  counts = {'examples': 0, 'left_out': 0, 'first': None}

  def examples():
    for i in range(len(base)):
      try:
        found = objective.examples(base[i])
      except UserError as e:
        raise UserError(f'record {i} of the data: {e}') from e
      for example in found:
        counts['examples'] += 1
        if example is None:
          counts['left_out'] += 1
          counts['first'] = i if counts['first'] is None else counts['first']
        else:
          yield example

  stream = rows(examples(), length, tokenizer.pad_id)
  meta = packing.save(
    folder, stream, tokenizer, ('tokens', 'segments', 'answers')
  )
  if not meta['num_rows']:
    raise UserError(
      f'no answer of the {len(base)} records has room in max_length={length}, '
      'or is more than space'
    )
  packing.close(folder, meta | counts | {'length': length, 'num_bytes': 0})


def rows(examples, length, pad_id):
  """Yields (tokens, segments, answers) [length] that examples fill, whole.

  Args:
    examples: yields (ids, whether each is an answer's), `length` at most.
    length: of a row.
    pad_id: what stands behind the last example.
  """
  begun = []
  for example in examples:
    size = len(example[0])
    row = next((r for r in begun if r[0] + size <= length), None)
    if row is None:
      if len(begun) == OPEN:
        fullest = max(begun, key=lambda r: r[0])
        begun.remove(fullest)
        yield _row(fullest[1], length, pad_id)
      row = [0, []]
      begun.append(row)
    row[0] += size
    row[1].append(example)
  for _, held in begun:
    yield _row(held, length, pad_id)


def _row(examples, length, pad_id):
  tokens = np.full(length, pad_id)
  segments = np.zeros(length, np.int64)
  answers = np.zeros(length, bool)
  used = 0
  for segment, (ids, marks) in enumerate(examples, 1):
    place = slice(used, used + len(ids))
    tokens[place], segments[place], answers[place] = ids, segment, marks
    used += len(ids)
  return tokens, segments, answers
