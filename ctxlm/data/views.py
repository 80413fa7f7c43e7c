"""How an objective reads its data: random access to numpy examples.

A view has `len(view)`, `view.read(i, rng) -> example` and `fingerprint`.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from ctxlm.data import cache, pack, records
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
    self._rows = None

  def __len__(self):
    return self._meta['num_rows']

  def _open(self):
    shape = len(self), self.length
    dtype = self._meta['dtype']
    self._rows = (
      np.memmap(self.folder / 'tokens', dtype, 'r', shape=shape),
      np.memmap(self.folder / 'segments', 'uint16', 'r', shape=shape),
    )
    return self._rows

  def read(self, i, rng):
    """Returns {'tokens', 'segment_ids', 'positions'}: int32 [length]."""
    del rng  # nothing is drawn
    tokens, segments = self.__dict__.get('_rows') or self._open()
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
