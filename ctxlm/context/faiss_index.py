"""A datastore's index of FAISS, if it is installed (pip install faiss-cpu).

Read an index that you trust: FAISS doesn't guard against made-up files. It is
built once, by what `faiss.index_factory` makes of its name, and kept in
the datastore's folder. The search is the host's, wherever the model runs.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import files
from ctxlm.context import store
from ctxlm.errors import UserError, note

TRAIN = 2**18  # keys by which clusters are found, at most
ADD = 2**16  # keys that are added at a time
PROBES = 32  # clusters that are looked at, as in the paper (FAISS's own is 1)


@functools.cache
def opened(folder, name):
  """Returns the faiss.Index of a datastore.

  Args:
    folder: pathlib.Path of it.
    name: of the index, as faiss.index_factory takes it.

  Raises:
    UserError: FAISS is not installed, or the index can't be made.
  """
  try:
    import faiss
  except ImportError as e:
    raise UserError(
      f'nearest: index={name!r} needs FAISS (pip install faiss-cpu); without '
      'an index the search is our own, and exact'
    ) from e
  own = store.open_folder(folder)
  path = files.inside(folder, f'index_{re.sub(r"[^A-Za-z0-9_]+", "_", name)}')
  try:
    if path.exists():
      index = faiss.read_index(str(path))
    else:
      note(f'building the index {name} of {own.count:,} keys: {path}')
      index = _built(faiss, name, own.arrays['keys'])
      with files.new_file(path) as new:
        faiss.write_index(index, str(new))
  except RuntimeError as e:
    raise UserError(f'nearest: index={name!r}: FAISS says {e}') from e
  if (index.d, index.ntotal) != (own.width, own.count):
    raise UserError(f'{path} is of another datastore: remove it')
  if (clusters := faiss.try_extract_index_ivf(index)) is not None:
    clusters.nprobe = PROBES
  return index


def _built(faiss, name, keys):
  index = faiss.index_factory(keys.shape[1], name)
  if not index.is_trained:
    step = -(-len(keys) // TRAIN)
    index.train(np.asarray(keys[::step], np.float32))
  for start in range(0, len(keys), ADD):
    index.add(np.asarray(keys[start : start + ADD], np.float32))
  return index


def nearest(index, states, k):
  """Returns what search.nearest does; a place is -1 where none was found."""
  k = min(k, index.ntotal)

  def search(states):
    distances, places = index.search(np.ascontiguousarray(states), k)
    return distances, places.astype(np.int32)

  shape = len(states), k
  return jax.pure_callback(
    search,
    (
      jax.ShapeDtypeStruct(shape, jnp.float32),
      jax.ShapeDtypeStruct(shape, jnp.int32),
    ),
    states,
  )
