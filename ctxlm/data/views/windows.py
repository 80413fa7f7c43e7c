"""Documents packed into fixed rows: what language models read."""

import functools
import json

import numpy as np

from ctxlm import files
from ctxlm.data.sources import records
from ctxlm.data.views import packing
from ctxlm.errors import UserError


class View(records.Lazy):
  """Documents packed into fixed rows, memory mapped.

  Documents, each `bos + tokens + eos` (or `cls + tokens + sep`), fill the
  rows in order; the last row alone is padded. A document that is cut goes on
  in the next row. With `overlap` 1 the next piece begins with the last token
  of the former one, so that a causal model predicts every token exactly once.

  Attributes:
    length: tokens in a row.
    num_bytes: UTF-8 bytes of the documents' text, for bits per byte.
    num_tokens: tokens that are not padding.
    meta: all that is known of the rows.
    fingerprint: hash of the rows' content.
  """

  _opened = ('_rows',)

  def __init__(self, folder, fingerprint):
    self.folder, self.fingerprint = folder, fingerprint
    meta = json.loads((folder / 'meta.json').read_text())
    self.length, self.num_bytes = meta['length'], meta['num_bytes']
    self.num_tokens = meta['num_tokens']
    self.meta = meta

  @classmethod
  def open(cls, base, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View.

    The objective's `overlap` is 0 or 1, its `frame` 'bos' or 'cls'; the latter
    falls back on the former if the tokenizer lacks cls or sep.

    Raises:
      UserError: no text, no field 'text', or a row too short.
    """
    overlap, frame = objective.overlap, objective.frame
    if max_length < 2:
      raise UserError('config.max_length must be 2 or more')
    if overlap not in (0, 1) or frame not in ('bos', 'cls'):
      raise ValueError(f'overlap={overlap!r}, frame={frame!r}')
    key = files.digest(
      'windows', packing.VERSION, fingerprint, tokenizer.fingerprint,
      tokenizer.special_in_data,
      max_length, overlap, frame,
    )  # fmt: skip

    def cut(stream):
      return packing.rows(stream, max_length, overlap, tokenizer.pad_id)

    def build(folder):
      packing.write(folder, base, tokenizer, frame, cut, length=max_length)

    return cls(files.folder('windows', key, build), key)

  def __len__(self):
    return self.meta['num_rows']

  @functools.cached_property
  def _rows(self):
    shape = len(self), self.length
    dtype = self.meta['dtype']
    return (
      np.memmap(self.folder / 'tokens', dtype, 'r', shape=shape),
      np.memmap(self.folder / 'segments', 'uint16', 'r', shape=shape),
    )

  def stream(self):
    """Returns (tokens int32 [t], begins bool [t]): the documents, whole again.

    They stand one after another, and `begins` says where each begins. Needs
    `overlap` 1, by which a piece that goes on is known.
    """
    tokens, segments = self._rows
    kept, goes_on = self._kept()
    begins = np.ones(segments.shape, bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    begins[:, 1] &= ~goes_on
    return tokens[kept].astype(np.int32), begins[kept]

  def places(self):
    """Returns each row's first token's place in `stream`, int64 [n].

    And whether it is the last one of the row before, whose document goes on:
    bool [n].
    """
    kept, goes_on = self._kept()
    counts = kept.sum(1)
    return np.cumsum(counts) - counts - goes_on, goes_on

  def _kept(self):
    # What is no padding, and not what the row before ends with: bool [n, l];
    # and whether a row begins with that, [n].
    tokens, segments = self._rows
    first = tokens[0, 0]  # what each document begins with
    goes_on = np.zeros(len(tokens), bool)
    goes_on[1:] = tokens[1:, 0] == tokens[:-1, -1]
    # One that begins with `first` goes on with a document of which the row
    # before has that alone.
    began = segments[:-1, -1] != segments[:-1, -2]
    goes_on[1:] &= (tokens[1:, 0] != first) | began
    kept = segments > 0
    kept[:, 0] &= ~goes_on
    return kept, goes_on

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
