"""Random access to records: `len(records)`, `records[i] -> dict`.

All can be pickled to loader workers, and open their files there.
"""

import array
import contextlib
import functools
import io
import json
import logging as python_logging
from pathlib import Path

import numpy as np

from ctxlm import files


@contextlib.contextmanager
def quiet():
  """Silences TFDS's progress bars and notes."""
  import tensorflow_datasets as tfds

  tfds.disable_progress_bar()
  before = python_logging.root.manager.disable
  python_logging.disable(python_logging.WARNING)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    python_logging.disable(before)


class Lazy:
  """Opens something at first use, and again in a process it is sent to."""

  def __getstate__(self):
    state = dict(self.__dict__)
    for name in self._opened:
      state.pop(name, None)
    return state


class Tfds(Lazy):
  """A split of a prepared TFDS folder, as Python values: bytes become str.

  Args:
    folder: that holds dataset_info.json and ArrayRecord files.
    split: a split of it, TFDS's slices ('train[:10%]') included.
  """

  _opened = ('_source',)

  def __init__(self, folder, split):
    self.folder, self.split = folder, split

  @functools.cached_property
  def _source(self):
    import tensorflow_datasets as tfds

    with quiet():
      builder = tfds.builder_from_directory(self.folder)
      return builder.as_data_source(split=self.split)

  def __len__(self):
    return len(self._source)

  def __getitem__(self, i):
    return plain(self._source[int(i)])


def plain(value):
  """Returns a value of a table as JSON has it: bytes become str, arrays lists.

  What JSON lacks, such as dates, becomes its text.
  """
  if isinstance(value, (np.generic, np.ndarray)):
    value = value.tolist()
  if value is None or isinstance(value, (str, int, float)):
    return value
  if isinstance(value, bytes):
    return value.decode('utf-8', errors='replace')
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(v) for v in value]
  return str(value)


class Writer:
  """Writes records, as JSON has them, to a folder, for `Store`."""

  def __init__(self, folder):
    self._folder = Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)
    self._file = open(self._folder / 'records.jsonl', 'wb')  # noqa: SIM115
    self._ends = array.array('q', [0])

  def add(self, record):
    """Appends one."""
    line = json.dumps(record, ensure_ascii=False) + '\n'
    size = self._file.write(line.encode())
    self._ends.append(self._ends[-1] + size)

  def close(self):
    """Ends the folder; it can be read then."""
    self._file.close()
    np.save(self._folder / 'ends.npy', np.array(self._ends, np.int64))


class Store(Lazy):
  """Records in one memory-mapped file, written by `Writer`."""

  _opened = ('_ends', '_data')

  def __init__(self, folder):
    self.folder = Path(folder)

  @functools.cached_property
  def _ends(self):
    return np.load(self.folder / 'ends.npy', mmap_mode='r')

  @functools.cached_property
  def _data(self):
    path = self.folder / 'records.jsonl'
    if not path.stat().st_size:
      return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, 'r')

  @property
  def size(self):
    """Bytes of all records."""
    return int(self._ends[-1])

  def __len__(self):
    return len(self._ends) - 1

  def __getitem__(self, i):
    i = range(len(self))[i]
    return json.loads(self._data[self._ends[i] : self._ends[i + 1]].tobytes())


class WholeFiles(Store):
  """Records that are whole files, for want of anything that ends a document."""


def content_hash(base):
  """Returns a hash of all records, in order."""
  parts = (
    json.dumps(base[i], sort_keys=True, default=repr) for i in range(len(base))
  )
  return files.digest(*parts)
