"""Tokenising documents and packing them into fixed rows, once, on disk."""

import json

import numpy as np

from ctxlm.data import framing
from ctxlm.data.sources import units
from ctxlm.errors import UserError

VERSION = 2  # raise it whenever rows change
# Documents tokenised at a time: at most so many, of about so many characters.
BATCH, CHARACTERS = 512, 2**20


def write(folder, base, tokenizer, length, overlap, frame):
  """Writes `tokens` and `segments` [n, length] and meta.json to a folder.

  Only one row and one batch of documents are in memory.
  """
  dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
  num_bytes = num_rows = num_tokens = 0

  def texts():
    nonlocal num_bytes
    for _, text in units.texts(base):
      num_bytes += len(text.encode())
      yield text

  with (
    open(folder / 'tokens', 'wb') as tokens_file,
    open(folder / 'segments', 'wb') as segments_file,
  ):
    for tokens, segments in rows(
      documents(texts(), tokenizer, frame), length, overlap, tokenizer.pad_id
    ):
      tokens_file.write(tokens.astype(dtype).tobytes())
      segments_file.write(segments.astype(np.uint16).tobytes())
      num_rows += 1
      num_tokens += int((segments > 0).sum())
  if not num_rows:
    raise UserError('the data has no text: is the file or split empty?')
  meta = {
    'length': length,
    'num_rows': num_rows,
    'num_tokens': num_tokens,
    'num_bytes': num_bytes,
    'dtype': np.dtype(dtype).name,
  }
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
