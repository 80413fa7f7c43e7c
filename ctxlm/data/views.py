"""How an objective reads its data: random access to numpy examples.

A view has `len(view)`, `view.read(i, rng) -> example` and `fingerprint`.
"""

import dataclasses
import functools
import json
from typing import Any

import numpy as np

from ctxlm import files as cache
from ctxlm.data import pack, records, sentences
from ctxlm.errors import UserError


class Windows(records.Lazy):
  """Documents packed into fixed rows, memory mapped. See `windows`.

  Attributes:
    length: tokens in a row.
    num_bytes: UTF-8 bytes of the documents' text, for bits per byte.
    num_tokens: tokens that are not padding.
    fingerprint: hash of the rows' content.
  """

  _opened = ('_rows',)

  def __init__(self, folder, fingerprint):
    self.folder, self.fingerprint = folder, fingerprint
    meta = json.loads((folder / 'meta.json').read_text())
    self.length, self.num_bytes = meta['length'], meta['num_bytes']
    self.num_tokens = meta['num_tokens']
    self._meta = meta

  def __len__(self):
    return self._meta['num_rows']

  @functools.cached_property
  def _rows(self):
    shape = len(self), self.length
    dtype = self._meta['dtype']
    return (
      np.memmap(self.folder / 'tokens', dtype, 'r', shape=shape),
      np.memmap(self.folder / 'segments', 'uint16', 'r', shape=shape),
    )

  def read(self, i, rng):
    """Returns {'tokens', 'segment_ids', 'positions'}: int32 [length]."""
    del rng  # nothing is drawn
    tokens, segments = self._rows
    segment_ids = segments[i].astype(np.int32)
    return {
      'tokens': tokens[i].astype(np.int32),
      'segment_ids': segment_ids,
      'positions': positions(segment_ids),
    }


def positions(segment_ids):
  """Returns int32 [l] that count from 0 in each segment; padding has 0."""
  place = np.arange(len(segment_ids), dtype=np.int32)
  begins = np.zeros(len(segment_ids), bool)
  begins[1:] = segment_ids[1:] != segment_ids[:-1]
  first = np.maximum.accumulate(np.where(begins, place, 0))
  return np.where(segment_ids > 0, place - first, 0).astype(np.int32)


def windows(base, tokenizer, length, overlap=0, fingerprint='', frame='bos'):
  """Returns documents as packed rows of `length` tokens.

  Documents, each `bos + tokens + eos` (or `cls + tokens + sep`), fill the
  rows in order; the last row alone is padded. A document that is cut goes on
  in the next row. With `overlap` 1 the next piece begins with the last token
  of the former one, so that a causal model predicts every token exactly once.

  Args:
    base: records with 'text'.
    tokenizer: a Tokenizer.
    length: tokens in a row.
    overlap: 0 or 1.
    fingerprint: hash of the records.
    frame: 'bos' or 'cls'; the latter falls back on the former if the
      tokenizer lacks cls or sep.

  Raises:
    UserError: no text, no field 'text', or a row too short.
  """
  if length < 2:
    raise UserError('config.max_length must be 2 or more')
  if overlap not in (0, 1) or frame not in ('bos', 'cls'):
    raise ValueError(f'overlap={overlap!r}, frame={frame!r}')
  key = cache.digest(
    'windows', pack.VERSION, fingerprint, tokenizer.fingerprint, length,
    overlap, frame,
  )  # fmt: skip
  folder = cache.folder(
    'windows',
    key,
    lambda new: pack.write(new, base, tokenizer, length, overlap, frame),
  )
  return Windows(folder, key)


@dataclasses.dataclass(frozen=True)
class Texts:
  """The records as they are. See `texts`."""

  records: Any
  fingerprint: str

  def __len__(self):
    return len(self.records)

  def read(self, i, rng):
    """Returns record i."""
    del rng  # nothing is drawn
    return self.records[int(i)]


def texts(base, fingerprint=''):
  """Returns a view of the records' raw fields.

  Raises:
    UserError: no records.
  """
  if not len(base):
    raise UserError('the data has no records: is the file or split empty?')
  return Texts(base, cache.digest('texts', fingerprint))


@dataclasses.dataclass(frozen=True)
class OnDevice:
  """Examples that the compiled step makes; the host counts them only."""

  source: Any
  fingerprint: str

  def __len__(self):
    return self.source.num_examples


class Pairs(records.Lazy):
  """Chunks of consecutive sentences, memory mapped. See `pairs`."""

  _opened = ('_arrays',)

  def __init__(self, folder, length, fingerprint):
    self.folder, self.length = folder, length
    self.fingerprint = fingerprint

  @functools.cached_property
  def _arrays(self):
    names = ('tokens', 'ends', 'documents', 'chunks')
    return [np.load(self.folder / f'{n}.npy', mmap_mode='r') for n in names]

  def __len__(self):
    return len(self._arrays[3])

  def read(self, i, rng):
    """Returns a chunk and a rival from another document, drawn with `rng`.

    Returns:
      'sentences': list of int32 arrays, length - 3 tokens together at most;
      'other': int32 array of at least one token, as long at most, a run of
      consecutive sentences of another document; 'document': its number.
    """
    tokens, ends, documents, chunks = self._arrays
    room = self.length - 3
    document, first, last = (int(x) for x in chunks[i])
    # Any document but this one, each as likely.
    other = int(rng.integers(len(documents) - 2))
    other += other >= document
    begin = int(rng.integers(documents[other], documents[other + 1]))
    stop = int(ends[documents[other + 1]])
    start = int(ends[begin])
    return {
      'sentences': [
        tokens[ends[s] : ends[s + 1]][:room].astype(np.int32)
        for s in range(first, last)
      ],
      'other': tokens[start : min(stop, start + room)].astype(np.int32),
      'document': document,
    }


def pairs(base, tokenizer, length, fingerprint=''):
  """Returns chunks of sentences with rivals, for next-sentence prediction.

  A chunk is as many consecutive sentences of a document as fit into
  `length` - 3 tokens (BERT's [CLS] A [SEP] B [SEP]); every sentence is in
  exactly one, and a longer one is cut.

  Args:
    base: records with 'text', one document each.
    tokenizer: a Tokenizer.
    length: tokens in a row.
    fingerprint: hash of the records.

  Raises:
    UserError: fewer than two documents, or a row too short.
  """
  if length < 5:
    raise UserError('config.max_length must be 5 or more for pairs')
  key = cache.digest(
    'pairs', pack.VERSION, sentences.VERSION, fingerprint,
    tokenizer.fingerprint, length,
  )  # fmt: skip

  def build(folder):
    pack.write_sentences(folder, base, tokenizer, length - 3)

  return Pairs(cache.folder('pairs', key, build), length, key)
