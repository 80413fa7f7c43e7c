"""Tables of Arrow and Parquet, as records of Python's own values."""

import bisect
import contextlib
import functools
import itertools

from ctxlm.data.sources import paths, records
from ctxlm.errors import UserError

ROWS = 256  # that are Python's at a time


@contextlib.contextmanager
def _damage(path, kind):
  # Whatever pyarrow finds wrong with a stranger's file, as one line.
  try:
    import pyarrow as pa  # half a second
  except ModuleNotFoundError as e:
    raise UserError(f'{path} needs pyarrow: pip install pyarrow') from e
  try:
    yield pa
  except (pa.ArrowException, OSError, ValueError, RecursionError) as e:
    first = ' '.join(str(e).split())[:200]
    raise UserError(f'{path} is damaged, or no {kind}: {first}') from e


def read_parquet(path, source):
  """Rows of a Parquet file; of its columns, those that are asked for."""
  with _damage(path, 'Parquet file'):
    from pyarrow import parquet

    table = parquet.ParquetFile(path, memory_map=True)
    names = table.schema_arrow.names
  wanted = None
  if source.fields:
    wanted = [
      p if p in names else p.split('.')[0] for p in source.fields.values()
    ]
    for name in wanted:
      if name not in names:
        raise UserError(f'{path} {paths.lacks(name, names)}')
  numbers = itertools.count(1)
  batches = table.iter_batches(ROWS, columns=wanted)
  while True:
    with _damage(path, 'Parquet file'):
      batch = next(batches, None)
      if batch is None:
        return
      rows = batch.to_pylist()
    for row in rows:
      yield f'{path}, row {next(numbers)},', records.plain(row)


class Streams(records.Lazy):
  """Rows of files in Arrow's streaming format, memory-mapped.

  Args:
    paths: of the files, in order.
  """

  _opened = ('_batches', '_checked')

  def __init__(self, paths):
    self.paths = [str(path) for path in paths]

  @functools.cached_property
  def _batches(self):
    # (path, batch) of each, and the number of rows before each.
    batches, starts = [], [0]
    for path in self.paths:
      with _damage(path, 'Arrow stream') as pa, pa.memory_map(path) as file:
        for batch in pa.ipc.open_stream(file):
          batches.append((path, batch))
          starts.append(starts[-1] + batch.num_rows)
    return batches, starts

  @functools.cached_property
  def _checked(self):
    return set()

  def __len__(self):
    return self._batches[1][-1]

  def __getitem__(self, i):
    i = range(len(self))[i]
    batches, starts = self._batches
    n = bisect.bisect_right(starts, i) - 1
    path, batch = batches[n]
    with _damage(path, 'Arrow stream'):
      if n not in self._checked:  # offsets lead out of memory if they are wrong
        batch.validate(full=True)
        self._checked.add(n)
      (row,) = batch.slice(i - starts[n], 1).to_pylist()
    return records.plain(row)


class Part:
  """The records from `start` to `stop` of others."""

  def __init__(self, base, start, stop):
    self.base, self.start, self.stop = base, start, max(start, stop)
    self.paths = base.paths

  def __len__(self):
    return self.stop - self.start

  def __getitem__(self, i):
    return self.base[range(self.start, self.stop)[i]]
