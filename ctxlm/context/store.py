"""A datastore: what a model's states were, and the tokens that came next.

A folder of plain arrays, to be mapped into memory, and `store.json`:

    keys    float16 [n, m], the hidden states that predicted a token
    norms   float32 [n], the squares of their lengths
    tokens  int32 [n], the tokens that came

2 m + 8 bytes a key: 10 million of a model with m = 768 are 15.4 GB. It is
written batch after batch, and what is written of a batch counts once
`store.json` says so: a killed writer goes on with the next batch.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from ctxlm import files
from ctxlm.errors import UserError, naming
from ctxlm.parallel import locks

NAME, LAYOUT = 'store.json', 2
DTYPES = {'keys': 'float16', 'norms': 'float32', 'tokens': 'int32'}
EVERY = 16  # batches that are written between two looks at the disk


@dataclasses.dataclass(frozen=True)
class Store:
  """A datastore that is whole.

  Attributes:
    folder: pathlib.Path.
    count: n.
    width: m.
    model: fingerprint of the model whose states they are.
    text: fingerprint of the view that was read.
    arrays: {name: read-only numpy memmap}, see above.
  """

  folder: Path
  count: int
  width: int
  model: str
  text: str
  arrays: dict


def open_folder(folder):
  """Returns the Store of a folder.

  Raises:
    UserError: it is none, it isn't finished, or it is damaged.
  """
  folder = Path(folder).expanduser()
  if not (folder / NAME).is_file():
    raise UserError(
      f'{folder} is no datastore: write one with ctxlm store --output {folder}'
    )
  said = _read(folder)
  if not said['done']:
    raise UserError(
      f'{folder} is not finished: give the same ctxlm store command again'
    )
  count, width = said['count'], said['width']
  if not count:
    raise UserError(f'{folder} is empty: its text predicts no token')
  arrays = {}
  for name, shape in shapes(count, width).items():
    path = files.inside(folder, name)
    size = np.dtype(DTYPES[name]).itemsize * int(np.prod(shape))
    if not path.is_file() or path.stat().st_size != size:
      raise UserError(
        f'{path} is damaged, {size:,} bytes are wanted: write the datastore '
        'anew'
      )
    arrays[name] = np.memmap(path, DTYPES[name], 'r', shape=shape)
  return Store(folder, count, width, said['model'], said['text'], arrays)


def shapes(count, width):
  """Returns {name: shape} of a datastore's arrays."""
  return {'keys': (count, width), 'norms': (count,), 'tokens': (count,)}


class Writer:
  """Writes a datastore; begun by one process, it may be ended by another."""

  def __init__(self, folder, width, model, text, batch_size):
    """Begins, or goes on.

    Args:
      folder: to be.
      width, model, text: see Store.
      batch_size: rows of a batch, which decides where it may go on.

    Raises:
      UserError: the folder holds something else.
    """
    self.folder = Path(folder)
    own = {'layout': LAYOUT, 'width': width, 'model': model, 'text': text}
    own |= {'batch_size': batch_size}
    self._said = own | {'batches': 0, 'count': 0, 'done': False}
    if (self.folder / NAME).exists():
      said = _read(self.folder)
      if {key: said[key] for key in own} != own:
        raise UserError(
          f'{self.folder} is a datastore of another model, text or batch size: '
          'name another --output'
        )
      self._said = said
    elif self.folder.exists() and _others(self.folder):
      raise UserError(f'{self.folder} is no datastore, and not empty')
    with naming(self.folder):
      self.folder.mkdir(parents=True, exist_ok=True)
      self._files = {n: open(self.folder / n, 'ab') for n in DTYPES}  # noqa: SIM115
      for name, shape in shapes(self._said['count'], width).items():
        size = np.dtype(DTYPES[name]).itemsize * int(np.prod(shape))
        if os.fstat(self._files[name].fileno()).st_size < size:
          raise UserError(
            f'{self.folder / name} is damaged: remove {self.folder}'
          )
        self._files[name].truncate(size)
    self._new = 0

  @property
  def batches(self):
    """How many were written."""
    return self._said['batches']

  @property
  def count(self):
    """How many keys were written."""
    return self._said['count']

  @property
  def done(self):
    """Whether it is whole."""
    return self._said['done']

  def put(self, keys, tokens):
    """Writes a batch.

    Args:
      keys: [n, m].
      tokens: [n].

    Raises:
      UserError: a state that float16 can't hold; or no room on the disk.
    """
    with np.errstate(over='ignore'):
      keys = np.asarray(keys, np.float32).astype(np.float16)
    if not np.isfinite(keys).all():
      raise UserError(
        'the model has hidden states of more than 65504, which a datastore '
        'can not hold'
      )
    own = {
      'keys': keys,
      'norms': np.square(keys.astype(np.float32)).sum(axis=1),
      'tokens': np.asarray(tokens),
    }
    with naming(self.folder):
      for name, array in own.items():
        self._files[name].write(array.astype(DTYPES[name]).tobytes())
    self._said['batches'] += 1
    self._said['count'] += len(keys)
    self._new += 1
    if self._new == EVERY:
      self._save()

  def close(self, done):
    """Ends; `done` is whether all was written."""
    self._said['done'] = done
    self._save()
    for file in self._files.values():
      file.close()

  def _save(self):
    with naming(self.folder):
      for file in self._files.values():
        file.flush()
        os.fsync(file.fileno())
    files.write_text(self.folder / NAME, json.dumps(self._said) + '\n')
    self._new = 0


def _others(folder):
  # What it holds beside arrays of which nothing was said yet.
  return {path.name for path in folder.iterdir()} - {*DTYPES, locks.NAME}


KINDS = {
  'layout': int,
  'width': int,
  'model': str,
  'text': str,
  'batch_size': int,
  'batches': int,
  'count': int,
  'done': bool,
}


def _read(folder):
  said = files.read_json(folder / NAME)
  for name, kind in KINDS.items():
    value = said.get(name)
    if type(value) is not kind or (kind is int and value < 0):
      raise UserError(f'{folder / NAME} is damaged: {name!r} is {value!r}')
  if said['layout'] != LAYOUT or not said['width']:
    raise UserError(f'{folder} is a datastore of another layout: write it anew')
  return said
