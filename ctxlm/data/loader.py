"""Batches as a pure function of (seed, step).

Global position p = step * batch_size + row; epoch = p // N; the example is
permutation[seed, task, epoch][p % N], so that each epoch has every example
exactly once. An example's own randomness comes from (seed, task, epoch,
example). Nothing depends on hosts, devices, workers or where a run resumed.

A text that can be cut anywhere, see ctxlm.data.views.Contiguous, is no set of
examples: it is cut into as many streams as a batch has rows, and row i of a
batch goes on where row i of the one before ended, an epoch long. Evaluations
read it as one stream, the first row's.
"""

import dataclasses
import functools
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
import zlib
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

import grain
import numpy as np
from absl import flags
from grain.experimental import index_shuffle

from ctxlm.data import views
from ctxlm.errors import UserError

TRAIN, EVAL = 0, 1  # streams of randomness
# Up to this many examples an epoch's permutation is a table. index_shuffle
# needs none, but walks through 2^16 places: 2 ms an index for 16 examples.
TABLE = 2**17


@dataclasses.dataclass(frozen=True)
class _Batches:
  """Step n to its batch; sent to loader workers."""

  view: Any
  prepare: Callable
  seed: int
  task: str
  batch_size: int
  rows: tuple
  stream: int
  # Not empty once nobody waits: a slow batch is then given up. Shared by
  # threads; processes are stopped.
  ended: list = dataclasses.field(default_factory=list)

  def __call__(self, step):
    examples = []
    contiguous = isinstance(self.view, views.Contiguous)
    choose = self._streamed if contiguous else self._chosen
    for row in self.rows:
      if self.ended:
        raise RuntimeError('the stream has ended')
      epoch, i, read, marks = choose(int(step), row)
      rng = np.random.default_rng(
        (self.seed, zlib.crc32(self.task.encode()), self.stream, epoch, i)
      )
      features = dict(self.prepare(read(rng), rng))
      features['index'] = np.int32(row)
      features |= {k: np.float32(v) for k, v in marks.items()}
      examples.append(features)
    return {k: np.stack([e[k] for e in examples]) for k in examples[0]}

  def _chosen(self, step, row):
    # (epoch, example, function of its rng to read it, how it counts).
    first = step * self.batch_size
    place = first + row
    valid = present = True
    if self.stream == TRAIN:
      epoch, i = self.shuffled(place)
    else:
      # Rows that fill up the last batch don't count: the first examples
      # again, which others may be compared with unless they are in it.
      epoch, i = 0, place % len(self.view)
      valid = place < len(self.view)
      present = valid or i < first
    read = functools.partial(self.view.read, i)
    return epoch, i, read, {'valid': valid, 'present': present}

  def _streamed(self, step, row):
    # As `_chosen`; rows that are no stream are the first again.
    valid, streams = True, self.batch_size
    if self.stream == EVAL:
      valid, streams, row = row == 0, 1, 0
    view, size = self.view, self.view.size // streams
    epoch, at = divmod(step, -(-size // view.length))
    start = row * size + at * view.length
    stop = min(start + view.length, (row + 1) * size)
    marks = {'valid': valid, 'present': valid, 'carried': at > 0}
    return epoch, start, lambda rng: view.cut(start, stop), marks

  def shuffled(self, place):
    """Returns (epoch, example) of a global position."""
    epoch, at = divmod(place, len(self.view))
    words = (self.seed, zlib.crc32(self.task.encode()), epoch)
    if len(self.view) <= TABLE:
      return epoch, int(_table(len(self.view), words)[at])
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    i = index_shuffle(
      index=at, max_index=len(self.view) - 1, seed=seed, rounds=4
    )
    return epoch, i


@functools.lru_cache(maxsize=8)
def _table(size, words):
  return np.random.default_rng(words).permutation(size)


def train_batches(
  view,
  prepare,
  *,
  seed,
  task,
  batch_size,
  start_step,
  num_steps,
  rows,
  num_workers=0,
):
  """Returns the batches of steps `start_step` to `num_steps` - 1.

  Args:
    view: see ctxlm.data.views.
    prepare: (example, rng) -> {name: array}, shapes the same for all.
    seed: int, 0 or more.
    task: name; tasks of one seed draw differently.
    batch_size: examples a step over all processes.
    start_step, num_steps: the first step, and the last plus one.
    rows: int array: the rows of the global batch that this process holds.
    num_workers: processes that make batches; 0 makes them in threads.

  Returns:
    Iterator of {name: [len(rows), ...]} that has `close()`, with 'index' int32,
    the row in the global batch, and 'valid' and 'present' float32, 1; of
    streams also 'carried' float32, whether a row goes on from the batch before.
  """
  batches = _batches(view, prepare, seed, task, batch_size, rows, TRAIN)
  data = grain.MapDataset.range(start_step, max(num_steps, start_step))
  data = data.map(batches)
  if not num_workers:
    data = data.to_iter_dataset(_read_options())
  else:
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain sends the flags to its workers
    # As bytes: grain would put each array into a shared memory block of its
    # own, and leave blocks behind when a run ends early.
    data = data.map(pickle.dumps).to_iter_dataset(_read_options())
    data = data.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=num_workers, per_worker_buffer_size=4
      ),
      worker_init_fn=die_with_parent,
    ).map(pickle.loads)
  return _Stream(data, batches.ended)


def eval_batches(view, prepare, *, seed, task, batch_size, rows):
  """Returns batches that have every example exactly once, in order.

  The last one is filled up with the first examples, whose 'valid' is 0;
  'present' is 0 too where such an example is in the batch already. Of a text
  that is one stream each has one, in its first row. Arguments and features as
  of `train_batches`.
  """
  batches = _batches(view, prepare, seed, task, batch_size, rows, EVAL)
  one = isinstance(view, views.Contiguous)
  steps = -(-len(view) // (1 if one else batch_size))
  data = grain.MapDataset.range(0, steps)
  data = data.map(batches).to_iter_dataset(_read_options())
  return _Stream(data, batches.ended)


def numbered(size, batch_size, rows):
  """Yields `eval_batches` of `size` examples that are made on the device.

  'index' int32 is the example's number, 'valid' as there; rows that fill up
  the last batch are further examples.
  """
  for start in range(0, size, batch_size):
    index = (start + np.asarray(rows)).astype(np.int32)
    valid = (index < size).astype(np.float32)
    yield {'index': index, 'valid': valid, 'present': np.ones_like(valid)}


class _Stream:
  """Iterates over a grain dataset, and stops its threads and processes.

  Left to the interpreter's end, they fail there at length; `finalize` stops
  them at the stream's end, when it is dropped, or just before the exit.
  """

  def __init__(self, data, ended):
    self._held = [iter(data)]
    self.close = weakref.finalize(self, _close, self._held, ended)

  def __iter__(self):
    return self

  def __next__(self):
    try:
      if self._held:
        return next(self._held[0])
    except BaseException:
      self.close()
      raise
    raise StopIteration


def _close(held, ended):
  ended.append(True)
  while held:
    held.pop().close()


def die_with_parent(*_):
  """Lets this process end when its parent is killed, which can't see to it."""
  parent = multiprocessing.parent_process().sentinel

  def watch():
    connection.wait([parent])
    os.kill(os.getpid(), signal.SIGKILL)

  threading.Thread(target=watch, daemon=True).start()


def _read_options():
  # Batches are made in numpy under the interpreter's lock: more threads than
  # it takes to hide a page fault would only get in the loop's way.
  return grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


def _batches(view, prepare, seed, task, batch_size, rows, stream):
  rows = tuple(int(r) for r in rows)
  if not len(view):
    raise UserError(f'task {task!r} has no examples')
  if seed < 0:
    raise UserError('config.seed must be 0 or more')
  return _Batches(view, prepare, seed, task, batch_size, rows, stream)
