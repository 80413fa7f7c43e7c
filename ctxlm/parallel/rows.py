"""Rows of ids through a model, on all devices, sorted by length."""

import time

import jax
import numpy as np

from ctxlm.parallel.collectives import gather

MULTIPLE = 8  # a batch's length is one; each is compiled once


def multiple(length):
  """Returns the next multiple of MULTIPLE."""
  return -(-length // MULTIPLE) * MULTIPLE


class Rows:
  """A function of rows of ids, in batches that have little padding."""

  def __init__(
    self, placement, function, batch_size, lengths=multiple, whole=0
  ):
    """Prepares; what is compiled is kept.

    Args:
      placement: parallel.Pmap or Mesh.
      function: (params, batch, *whole) -> tree of arrays [b, ...]. `batch` has
        what the rows have, and 'segment_ids', 1 where there is a token; int32
        [b, l], padded by 0.
      batch_size: rows, made a multiple of the devices.
      lengths: (longest of a batch, by name) -> l.
      whole: number of arguments that every device gets as they are.
    """
    self._placement = placement
    shards = placement.shards
    self._batch_size = -(-batch_size // shards) * shards
    self._lengths = lengths

    def gathered(params, batch, *whole, axis):
      return gather(function(params, batch, *whole), axis)

    self._compiled = placement.compile(gathered, whole=whole)

  def __call__(self, params, rows, progress=None, whole=()):
    """Returns [the function's result for each row], trees of numpy arrays.

    Args:
      params: parameters, placed.
      rows: list of {'tokens': ids, ...}, the same names in each.
      progress: tracking.Progress of the rows, or None.
      whole: see above.
    """
    order = np.argsort([-len(row['tokens']) for row in rows], kind='stable')
    size, began, pending = self._batch_size, time.monotonic(), []
    out = [None] * len(rows)

    def fetch(chosen, results):
      results = jax.device_get(results)
      leaves, tree = jax.tree.flatten(results)
      for place, i in enumerate(chosen):
        out[i] = tree.unflatten([x[place] for x in leaves])

    for start in range(0, len(order), size):
      chosen = order[start : start + size]
      batch = self._batch([rows[i] for i in chosen])
      pending.append((chosen, self._compiled(params, batch, *whole)))
      # The next is prepared while two are under way.
      if len(pending) > 2:
        fetch(*pending.pop(0))
      if progress:
        done = min(start + size, len(order))
        rate = done / (time.monotonic() - began)
        progress.advance(done)
        if start // size % 50 == 0 or done == len(order):
          left = (len(order) - done) / rate
          progress.show(done, f'{rate:,.0f} lines/s', left)
    for chosen, results in pending:
      fetch(chosen, results)
    return out

  def _batch(self, rows):
    batch = {}
    for name in rows[0]:
      length = self._lengths(max(len(row[name]) for row in rows))
      batch[name] = np.zeros((self._batch_size, length), np.int32)
    batch['segment_ids'] = np.zeros_like(batch['tokens'])
    # Rows that fill up the last batch are one token, as none has no softmax.
    batch['segment_ids'][len(rows) :, 0] = 1
    for i, row in enumerate(rows):
      for name, ids in row.items():
        batch[name][i, : len(ids)] = ids
      batch['segment_ids'][i, : len(row['tokens'])] = 1
    own = self._placement.rows(self._batch_size)
    return self._placement.put({k: x[own] for k, x in batch.items()})
