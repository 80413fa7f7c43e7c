"""All documents as one text, cut where a batch's rows begin."""

import functools
import json

import numpy as np

from ctxlm import files
from ctxlm.data.sources import records
from ctxlm.data.views import packing, windows


class View(records.Lazy):
  """Documents one after another, memory mapped; see views.Contiguous.

  Each is `bos + tokens + eos`, and none is cut: the loader cuts the whole into
  as many streams as a batch has rows.

  Attributes:
    size: tokens that have one before them.
    length: tokens that an example predicts, at most.
    num_bytes: UTF-8 bytes of the documents' text, for bits per byte.
    fingerprint: hash of what examples may have.
  """

  _opened = ('_text',)

  def __init__(self, folder, fingerprint, length):
    self.folder, self.length = folder, length
    self.fingerprint = files.digest(fingerprint, length)
    self.meta = json.loads((folder / 'meta.json').read_text())
    self.num_bytes = self.meta['num_bytes']
    self.size = self.meta['num_tokens'] - 1

  @classmethod
  def open(cls, base, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View; the objective's `frame` is as of windows.

    Raises:
      UserError: no text, or no field 'text'.
    """
    key = files.digest(
      'streams', packing.VERSION, fingerprint, tokenizer.fingerprint,
      tokenizer.special_in_data, objective.frame,
    )  # fmt: skip

    def build(folder):
      packing.write(folder, base, tokenizer, objective.frame, whole)

    return cls(files.folder('streams', key, build), key, max_length)

  @functools.cached_property
  def _text(self):
    return (
      np.memmap(self.folder / 'tokens', self.meta['dtype'], 'r'),
      np.memmap(self.folder / 'segments', 'uint16', 'r'),
    )

  def __len__(self):
    return -(-self.size // self.length)

  def read(self, i, rng):
    """Returns example i of one stream; see `cut`."""
    del rng  # nothing is drawn
    return self.cut(i * self.length, min((i + 1) * self.length, self.size))

  def cut(self, start, stop):
    """Returns {'tokens', 'segment_ids', 'positions'}: int32 [length + 1].

    They are the tokens `start` to `stop`, both included, and padding; a
    document's are of another segment than its neighbours'.
    """
    found = {}
    for name, array in zip(('tokens', 'segment_ids'), self._text):
      found[name] = np.zeros(self.length + 1, np.int32)
      found[name][: stop + 1 - start] = array[start : stop + 1]
    return found | {'positions': windows.positions(found['segment_ids'] > 0)}


def whole(documents):
  """Yields (tokens, segment_ids) of each document, by turns 1 and 2."""
  for number, document in enumerate(documents):
    yield document, np.full(len(document), number % 2 + 1)
