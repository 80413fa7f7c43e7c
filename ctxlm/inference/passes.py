"""Passes of a model over rows of ids, in batches, compiled once a bucket."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.decoding.generator import bucket
from ctxlm.models import cache as cache_lib
from ctxlm.models import states
from ctxlm.models.variables import make_apply

ROWS = 8  # of a batch, at most: logits of a large vocabulary take much memory
PIECE = 256  # ids of a row at once, where the model reads on


class Passes:
  """A model with its parameters; what it is asked is compiled and kept."""

  def __init__(self, model, params):
    self._model, self._params = model, params
    self._compiled = {}

  def __call__(self, function, rows):
    """Returns [function's result for each row], trees of numpy arrays.

    Args:
      function: (apply, batch) -> tree of arrays [b, ...]. One of a module: it
        is compiled once for each shape. `apply(fn)` is `fn(bound model)`, see
        models.variables.make_apply. `batch` has what the rows have, int32
        [b, bucket], padded by 0, and for each NAME of it 'NAME_used', int32, 1
        where there is an id.
      rows: list of {name: list of ids}, one of them 'tokens'.
    """
    out = [None] * len(rows)
    for chosen in _alike(rows):
      batch = self._batch([rows[i] for i in chosen])
      results = jax.device_get(self._get(function)(self._params, batch))
      for place, i in enumerate(chosen):
        out[i] = jax.tree.map(lambda x, place=place: x[place], results)
    return out

  def along(self, function, rows):
    """Returns [function's result for each row], arrays [l, ...].

    Rows of any length are read piece by piece, each from what the model, a
    models.Carries, has kept of the one before.

    Args:
      function: (bound model, batch) -> array [b, l, ...]; see `__call__`, and
        `read_on`.
      rows: as there.
    """
    out = [None] * len(rows)
    for chosen in _alike(rows):
      longest = len(rows[chosen[0]]['tokens'])
      length = bucket(longest, PIECE)
      memory, found = None, []
      for start in range(0, longest, length):
        part = slice(start, start + length)
        pieces = [{k: v[part] for k, v in rows[i].items()} for i in chosen]
        result, memory = self._piece(function)(
          self._params, self._batch(pieces, length), memory
        )
        found.append(jax.device_get(result))
      found = np.concatenate(found, axis=1)
      for place, i in enumerate(chosen):
        out[i] = found[place, : len(rows[i]['tokens'])]
    return out

  def _batch(self, rows, length=None):
    size, batch = 1 << (len(rows) - 1).bit_length(), {}
    for name in rows[0]:
      own = length or bucket(
        max(len(r[name]) for r in rows), self._model.context_length
      )
      batch[name] = np.zeros((size, own), np.int32)
      batch[f'{name}_used'] = np.zeros((size, own), np.int32)
      for i, row in enumerate(rows):
        batch[name][i, : len(row[name])] = row[name]
        batch[f'{name}_used'][i, : len(row[name])] = 1
      # Rows that fill up see one token, as a row of none has no softmax.
      batch[f'{name}_used'][len(rows) :, 0] = 1
    return batch

  def _get(self, function):
    if function not in self._compiled:
      apply = make_apply(self._model)
      self._compiled[function] = jax.jit(
        lambda params, batch: function(functools.partial(apply, params), batch)
      )
    return self._compiled[function]

  def _piece(self, function):
    if function not in self._compiled:
      apply = make_apply(self._model)

      def piece(params, batch, memory):
        if memory is None:
          memory = states.empty(apply, params, len(batch['tokens']))
        out, kept = apply(
          params,
          lambda model: function(model, batch),
          mutable=['cache'],
          cache=memory,
        )
        return out, kept['cache']

      self._compiled[function] = jax.jit(piece)
    return self._compiled[function]


def _alike(rows):
  # The rows' numbers in batches, the longest first.
  order = sorted(range(len(rows)), key=lambda i: -len(rows[i]['tokens']))
  return [order[i : i + ROWS] for i in range(0, len(order), ROWS)]


def read(model, batch):
  """Returns the hidden states [b, l, m] of a batch's tokens: its encoder's."""
  call = model.encode if model.encoder_decoder else model
  return call(batch['tokens'], segment_ids=batch['tokens_used'])


def read_on(model, batch):
  """Returns what `read` does, from what the model has kept; it keeps on."""
  return model(
    batch['tokens'],
    segment_ids=batch['tokens_used'],
    places=cache_lib.Places(PIECE),
  )


def of_targets(logps, batch):
  """Returns log p float32 [b, l] of a batch's targets, of [b, l, v]."""
  return jnp.take_along_axis(logps, batch['targets'][..., None], -1)[..., 0]


def layers_of(sown, name):
  """Returns what each block has sown as `name`, or None: [layers, b, ...].

  Args:
    sown: the collection 'intermediates'.
    name: such as 'attention/attention', or 'hidden'.
  """
  leaves = {
    path: value
    for path, value in _walk(sown.get('intermediates', {}))
    if path.endswith(f'/{name}') and 'cross' not in path
  }
  if not leaves:
    return None
  if len(leaves) == 1 and 'layers_' not in next(iter(leaves)):
    return next(iter(leaves.values()))  # scanned layers are stacked already

  def number(path):
    return int(path.split('layers_')[1].split('/')[0])

  return jnp.stack([leaves[path] for path in sorted(leaves, key=number)])


def _walk(tree, where=''):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _walk(value, f'{where}{key}/')
    else:
      yield f'{where}{key}', value[0]
