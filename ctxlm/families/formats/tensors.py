"""The tensors of a checkpoint folder, by name, read part by part.

Each has `shape`, `dtype` and `tensor[slices]`, which reads those bytes only.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ctxlm.errors import UserError, reason
from ctxlm.families.formats import pickles
from ctxlm.files import inside, read_json

SHARD = 5 * 10**9  # bytes of a file at most, as the Hub likes it
# Of 8 bits and fewer are numbers that mean nothing without their scales.
DTYPES = ('F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL')
POINTER = b'version https://git-lfs'  # what Git has of a large file
SINGLE = ('model.safetensors', 'pytorch_model.bin')


def open_folder(folder, single=SINGLE):
  """Returns {name: tensor} of a Hugging Face folder, sharded or not.

  Args:
    folder: path.
    single: names of the file, if it is one, in their order.

  Raises:
    UserError: no weights, a shard that is missing, or a damaged file.
  """
  folder = Path(folder)
  for name in single:
    if inside(folder, name).is_file():
      return _open(folder / name)
    index = folder / f'{name}.index.json'
    if index.is_file():
      return _sharded(index)
  raise UserError(f'{folder} has no {" or ".join(single)}')


def _sharded(index):
  table, tensors = read_json(index).get('weight_map'), {}
  if not isinstance(table, dict) or not all(
    isinstance(name, str) for name in table.values()
  ):
    raise UserError(f'{index} is no index of shards')
  for name in sorted(set(table.values())):
    path = inside(index.parent, name)
    if not path.is_file():
      raise UserError(f'{path} is missing; {index.name} names it')
    tensors |= _open(path)
  for name in table:
    if name not in tensors:
      raise UserError(f'{index.parent / table[name]} lacks {name}')
  return tensors


def _open(path):
  with path.open('rb') as f:
    if f.read(len(POINTER)) == POINTER:
      raise UserError(
        f'{path} is a pointer of Git LFS, and no weights: git lfs pull'
      )
  if path.suffix == '.bin':
    return pickles.read(path)
  try:
    file = safetensors.safe_open(path, framework='np')
  except (safetensors.SafetensorError, OSError, MemoryError) as e:
    raise UserError(
      f'{path} is damaged, or no safetensors file: {reason(e)}'
    ) from e
  names = file.keys()  # it isn't iterable
  slices = {name: file.get_slice(name) for name in names}
  for name, x in slices.items():
    if x.get_dtype() not in DTYPES:
      raise UserError(
        f'{path}: {name} is of type {x.get_dtype()}, which is not supported: '
        'save the model in bfloat16, float16 or float32'
      )
  return {name: Slices(x) for name, x in slices.items()}


class Slices:
  """A tensor of a safetensors file."""

  def __init__(self, tensor):
    self._tensor = tensor
    self.shape = tuple(tensor.get_shape())

  def __getitem__(self, slices):
    return self._tensor[slices]


def same(a, b):
  """Whether two tensors are equal, bit for bit; compared row by row."""
  if a.shape != b.shape:
    return False
  rest = (slice(None),) * (len(a.shape) - 1)
  step = max(1, 2**24 // max(int(np.prod(a.shape[1:])), 1))
  for start in range(0, a.shape[0], step):
    rows = slice(start, min(start + step, a.shape[0])), *rest
    if a[rows].tobytes() != b[rows].tobytes():
      return False
  return True


def write(folder, sizes, make, shard=SHARD, single=SINGLE[0]):
  """Writes model.safetensors, in parts with an index if they are large.

  Args:
    folder: pathlib.Path.
    sizes: {name: bytes}.
    make: name -> numpy array, called once for each.
    shard: bytes of a file at most.
    single: name of the file, if it is one.
  """
  groups, room = [[]], shard
  for name in sorted(sizes):
    if sizes[name] > room and groups[-1]:
      groups.append([])
      room = shard
    groups[-1].append(name)
    room -= sizes[name]
  table = {}
  for i, group in enumerate(groups):
    file = single
    if len(groups) > 1:
      file = f'model-{i + 1:05}-of-{len(groups):05}.safetensors'
    arrays = {name: make(name) for name in group}
    try:
      safetensors.numpy.save_file(arrays, folder / file, {'format': 'pt'})
    except safetensors.SafetensorError as e:
      if match := re.search(r'os error (\d+)', str(e)):
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(folder / file)) from e
      raise
    table |= dict.fromkeys(arrays, file)
  if len(groups) > 1:
    index = {
      'metadata': {'total_size': sum(sizes.values())},
      'weight_map': table,
    }
    text = json.dumps(index, indent=2, sort_keys=True) + '\n'
    (folder / f'{SINGLE[0]}.index.json').write_text(text)
