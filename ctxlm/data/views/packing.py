"""Tokenising documents and packing them into rows, once, on disk."""

import contextlib
import json

import numpy as np

from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.errors import UserError

VERSION = 2  # raise it whenever rows change
# Documents tokenised at a time: at most so many, of about so many characters.
BATCH, CHARACTERS = 512, 2**20


def write(folder, base, tokenizer, frame, cut, **about):
  """Writes the arrays of all documents, and meta.json, to a folder; see `save`.

  Only one row and one batch of documents are in memory.

  Args:
    folder: pathlib.Path.
    base: records with 'text'.
    tokenizer, frame: see `documents`.
    cut: of the documents' ids, what `save` is given.
    **about: what else meta.json has.
  """
  num_bytes = 0

  def texts():
    nonlocal num_bytes
    for _, text in units.texts(base):
      num_bytes += len(text.encode())
      yield text

  meta = save(folder, cut(documents(texts(), tokenizer, frame)), tokenizer)
  if not meta['num_rows']:
    raise UserError('the data has no text: is the file or split empty?')
  close(folder, meta | about | {'num_bytes': num_bytes})


def save(folder, stream, tokenizer, names=('tokens', 'segments')):
  """Writes the arrays of rows to a folder, a file of each name.

  Args:
    folder: pathlib.Path.
    stream: yields a row's arrays [length], in the order of the names.
    tokenizer: whose ids they are.
    names: 'tokens' and 'segments', and of what is yes or no.

  Returns:
    {'num_rows', 'num_tokens', 'dtype'}.
  """
  small = tokenizer.vocab_size <= 2**16
  dtypes = np.uint16 if small else np.uint32, np.uint16, np.bool_
  num_rows = num_tokens = 0
  with contextlib.ExitStack() as opened:
    written = [opened.enter_context(open(folder / n, 'wb')) for n in names]
    for row in stream:
      for file, array, dtype in zip(written, row, dtypes):
        file.write(array.astype(dtype).tobytes())
      num_rows += 1
      num_tokens += int((row[1] > 0).sum())
  dtype = np.dtype(dtypes[0]).name
  return {'num_rows': num_rows, 'num_tokens': num_tokens, 'dtype': dtype}


def close(folder, meta):
  """Writes meta.json, by which a view knows what the folder holds."""
  (folder / 'meta.json').write_text(json.dumps(meta))


def documents(texts, tokenizer, frame):
  """Yields each text's ids, framed: int64 [n]."""
  for batch in batches(texts):
    yield from framing.documents(tokenizer, batch, frame)


def batches(texts):
  """Yields lists of the texts; one of several has few characters."""
  batch, size = [], 0
  for text in texts:
    if batch and (len(batch) == BATCH or size + len(text) > CHARACTERS):
      yield batch
      batch, size = [], 0
    batch.append(text)
    size += len(text)
  if batch:
    yield batch


def rows(stream, length, overlap, pad_id):
  """Yields (tokens, segment_ids) [length] that documents fill in order."""
  tokens = np.full(length, pad_id)
  segments = np.zeros(length, np.int64)
  used = segment = 0
  for document in stream:
    start = 0
    while True:
      piece = document[start : start + length - used]
      segment += 1
      tokens[used : used + len(piece)] = piece
      segments[used : used + len(piece)] = segment
      used += len(piece)
      start += len(piece)
      if used == length:
        yield tokens, segments
        tokens = np.full(length, pad_id)
        segments = np.zeros(length, np.int64)
        used = segment = 0
      if start == len(document):
        break
      start -= overlap
  if used:
    yield tokens, segments
