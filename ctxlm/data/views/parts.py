"""Records that may be longer than a row, part by part."""

import functools
from pathlib import Path

import numpy as np

from ctxlm import files
from ctxlm.data.sources import records as records_lib
from ctxlm.data.views import texts

VERSION = 1  # raise it whenever records have other parts


class View(records_lib.Lazy):
  """The records' raw fields, and 'part', which one of its rows an example is.

  How many a record takes the objective says, `parts(record, number)`, and by
  which options, `cut_by`. They are counted once, on disk.

  Attributes:
    records: random access.
    fingerprint: hash of the examples.
  """

  _opened = ('_ends',)

  def __init__(self, records, folder, fingerprint):
    self.records, self.fingerprint = records, fingerprint
    self._folder = Path(folder)

  @classmethod
  def open(cls, records, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View.

    Raises:
      UserError: no records, or one that the objective can't read.
    """
    opened = texts.View.open(
      records, fingerprint, tokenizer, max_length, objective
    )
    records = opened.records
    kind = type(objective)
    key = files.digest(
      'parts', VERSION, opened.fingerprint, tokenizer.fingerprint,
      tokenizer.special_in_data, max_length, kind.__module__, *objective.cut_by,
    )  # fmt: skip

    def build(folder):
      counts = [objective.parts(records[i], i) for i in range(len(records))]
      np.save(folder / 'ends.npy', np.cumsum(counts, dtype=np.int64))

    return cls(records, files.folder('parts', key, build), key)

  @functools.cached_property
  def _ends(self):
    return np.load(self._folder / 'ends.npy', mmap_mode='r')

  def __len__(self):
    return int(self._ends[-1])

  def read(self, i, rng):
    """Returns the record that example i is a part of, with 'part', from 0."""
    del rng  # nothing is drawn
    at = int(np.searchsorted(self._ends, i, side='right'))
    first = int(self._ends[at - 1]) if at else 0
    return {**self.records[at], 'part': int(i) - first}
