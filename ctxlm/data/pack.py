"""Tokenising documents and packing them into fixed rows, once, on disk."""

import array
import itertools
import json

import numpy as np

from ctxlm.data import records, sentences
from ctxlm.errors import UserError

VERSION = 1  # raise it whenever rows change
BATCH = 512  # documents tokenised at a time


def write(folder, base, tokenizer, length, overlap, frame):
  """Writes `tokens` and `segments` [n, length] and meta.json to a folder.

  Only one row and one batch of documents are in memory.
  """
  dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
  num_bytes = num_rows = num_tokens = 0
  with (
    open(folder / 'tokens', 'wb') as tokens_file,
    open(folder / 'segments', 'wb') as segments_file,
  ):
    for tokens, segments in rows(
      documents(base, tokenizer, frame), length, overlap, tokenizer.pad_id
    ):
      tokens_file.write(tokens.astype(dtype).tobytes())
      segments_file.write(segments.astype(np.uint16).tobytes())
      num_rows += 1
      num_tokens += int((segments > 0).sum())
  if not num_rows:
    raise UserError('the data has no text: is the file or split empty?')
  for text in texts(base):
    num_bytes += len(text.encode())
  meta = {
    'length': length,
    'num_rows': num_rows,
    'num_tokens': num_tokens,
    'num_bytes': num_bytes,
    'dtype': np.dtype(dtype).name,
  }
  (folder / 'meta.json').write_text(json.dumps(meta))


def texts(base):
  """Yields the records' text, those of nothing but space left out."""
  for i in range(len(base)):
    record = base[i]
    if i == 0:
      records.check_fields(record, ['text'])
    if not isinstance(record['text'], str):
      raise UserError(
        f"the field 'text' of record {i} is no text but "
        f'{type(record["text"]).__name__}'
      )
    if record['text'].strip():
      yield record['text']


def documents(base, tokenizer, frame):
  """Yields each document's ids, framed: int64 [n]."""
  first, last = tokenizer.bos_id, tokenizer.eos_id
  if frame == 'cls' and None not in (tokenizer.cls_id, tokenizer.sep_id):
    first, last = tokenizer.cls_id, tokenizer.sep_id
  stream = texts(base)
  while batch := list(itertools.islice(stream, BATCH)):
    for ids in tokenizer.encode_batch(batch):
      yield np.array([first, *ids, last])


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


def write_sentences(folder, base, tokenizer, room):
  """Writes documents as sentences, and the chunks that they are read in.

  tokens.npy [n]; ends.npy: sentence s is tokens[ends[s]:ends[s + 1]];
  documents.npy: document d has sentences documents[d] to documents[d + 1];
  chunks.npy [c, 3]: document, first sentence, last plus one: as many as fit
  into `room` tokens.
  """
  tokens, ends = array.array('I'), array.array('q', [0])
  documents, chunks = array.array('q', [0]), []
  for text in texts(base):
    # A sentence within a text follows a space, and byte-level BPE sees it.
    parts = [' ' * (n > 0) + s for n, s in enumerate(sentences.split(text))]
    first, used = len(ends) - 1, 0
    for ids in tokenizer.encode_batch(parts):
      if not ids:
        continue
      at = len(ends) - 1
      if used and used + len(ids) > room:
        chunks.append((len(documents) - 1, first, at))
        first, used = at, 0
      used += len(ids)
      tokens.extend(ids)
      ends.append(len(tokens))
    if used:
      chunks.append((len(documents) - 1, first, len(ends) - 1))
      documents.append(len(ends) - 1)
  if len(documents) < 3:
    raise UserError(
      'pairs need two documents or more: separate them, see data.separator'
    )
  np.save(folder / 'tokens.npy', np.array(tokens, np.uint32))
  np.save(folder / 'ends.npy', np.array(ends, np.int64))
  np.save(folder / 'documents.npy', np.array(documents, np.int64))
  np.save(folder / 'chunks.npy', np.array(chunks, np.int64))
