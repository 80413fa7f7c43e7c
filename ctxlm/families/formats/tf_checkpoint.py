"""TensorFlow's checkpoints of google-research/bert and openai/gpt-2.

They are read without TensorFlow. PREFIX.index is a table of LevelDB: blocks
of sorted keys, each with the length of what it shares with the one before it,
and a footer that finds the index of blocks. A tensor's entry is a protocol
buffer (BundleEntryProto): type, shape, and where its bytes lie in
PREFIX.data-SHARD. Tensors stay there, memory mapped, until they are sliced.
"""

import math
import re
import struct

import ml_dtypes
import numpy as np

from ctxlm.errors import UserError, reason
from ctxlm.files import inside, read_json

MOST = 2**28, 4096  # bytes of an index, and of a tensor's name
FOOTER, MAGIC = 48, 0xDB4775248B80FB57
DTYPES = {  # of DataType in TensorFlow's types.proto
  1: np.dtype('float32'),
  2: np.dtype('float64'),
  14: np.dtype(ml_dtypes.bfloat16),
  19: np.dtype('float16'),
}
# The optimizer's, and the step.
IGNORED = re.compile(r'(adam_[mv]|Adam(_\d+)?|global_step|_power)$')
BERT = (
  (r'^cls/seq_relationship/output_weights$', 'cls/seq_relationship/weight'),
  (r'^cls/(\w+)/output_bias$', r'cls/\1/bias'),
  (r'layer_(\d+)', r'layer/\1'),
  (r'(_embeddings)$', r'\1/weight'),
  (r'gamma$', 'weight'),
  (r'beta$', 'bias'),
)
GPT2 = (
  (r'^model/', ''),
  (r'^h(\d+)', r'h/\1'),
  (r'^(wte|wpe)$', r'\1/weight'),
  (r'/[wg]$', '/weight'),
  (r'/b$', '/bias'),
)


def find(folder):
  """Returns (config.json's keys, {name: array}), or None if there is none.

  Names and layouts are those of Hugging Face.

  Args:
    folder: pathlib.Path, with bert_config.json or hparams.json and
      *.ckpt.index.

  Raises:
    UserError: a damaged file.
  """
  indices = sorted(folder.glob('*.ckpt*.index'))
  for path in indices:
    inside(folder, path.name)
  if not indices:
    return None
  for name, convert in (('bert_config.json', _bert), ('hparams.json', _gpt2)):
    if (folder / name).is_file():
      return convert(read_json(folder / name), read(indices[-1]))
  raise UserError(f'{folder} has neither bert_config.json nor hparams.json')


def _bert(config, arrays):
  tensors = {}
  for name, x in arrays.items():
    kernel = name.endswith('/kernel')
    for pattern, new in (*BERT, (r'kernel$', 'weight')):
      name = re.sub(pattern, new, name)
    tensors[name.replace('/', '.')] = x.T if kernel else x
  return config | {'model_type': 'bert'}, tensors


def _gpt2(hparams, arrays):
  names = {'n_vocab': 'vocab_size', 'n_ctx': 'n_positions'}
  config = {names.get(k, k): v for k, v in hparams.items()}
  tensors = {}
  for name, x in arrays.items():
    for pattern, new in GPT2:
      name = re.sub(pattern, new, name)
    # Its linear maps were written as convolutions of width 1.
    tensors[name.replace('/', '.')] = x[0] if x.ndim == 3 else x
  return config | {'model_type': 'gpt2'}, tensors


def read(index):
  """Returns {name: numpy array, memory mapped} of a checkpoint.

  Args:
    index: pathlib.Path of PREFIX.index.

  Raises:
    UserError: a damaged file, or one that is missing.
  """
  try:
    if index.stat().st_size > MOST[0]:
      raise ValueError('it is too large')
    table = _table(index.read_bytes())
    shards = dict(_fields(table.pop(b''))).get(1, 1)
    prefix = index.with_suffix('')
    arrays = {}
    for key, value in table.items():
      if not IGNORED.search(key.decode()):
        arrays[key.decode()] = _map(prefix, shards, value)
    return arrays
  except UserError:
    raise
  except Exception as e:  # whatever a damaged file leads to
    raise UserError(
      f'{index} is damaged, or no checkpoint: {reason(repr(e))}'
    ) from e


def _map(prefix, shards, entry):
  fields = dict(_fields(entry))
  dims = [dict(_fields(v)) for k, v in _fields(fields.get(2, b'')) if k == 2]
  shape = tuple(d.get(1, 0) for d in dims)
  dtype = DTYPES.get(fields.get(1, 0))
  if dtype is None or 7 in fields:
    raise ValueError('a tensor of an unknown type, or in slices')
  path = inside(
    prefix.parent, f'{prefix.name}.data-{fields.get(3, 0):05}-of-{shards:05}'
  )
  start, size = fields.get(4, 0), math.prod(shape) * dtype.itemsize
  if not path.is_file() or start + size > path.stat().st_size:
    raise UserError(f'{path} is missing, or ends too early')
  if not size:
    return np.zeros(shape, dtype)
  return (
    np.memmap(path, np.uint8, 'r', start, (size,)).view(dtype).reshape(shape)
  )


def _table(data):
  """Returns {key: value} of a LevelDB table."""
  footer = data[-FOOTER:]
  if len(footer) < FOOTER or struct.unpack('<Q', footer[-8:])[0] != MAGIC:
    raise ValueError('no table')
  _, at = _varint(footer, 0)  # of the meta index, which is empty
  _, at = _varint(footer, at)
  entries, left = {}, len(data)
  for handle in _block(data, footer[at:]).values():
    left -= _varint(handle, _varint(handle, 0)[1])[0]
    if left < 0:
      raise ValueError('blocks that overlap')
    entries |= _block(data, handle)
  return entries


def _block(data, handle):
  start, at = _varint(handle, 0)
  size, _ = _varint(handle, at)
  if data[start + size] != 0:
    raise ValueError('a compressed block')
  block = data[start : start + size]
  (restarts,) = struct.unpack('<I', block[-4:])
  end, at, key, entries = len(block) - 4 * (restarts + 1), 0, b'', {}
  while at < end:
    shared, at = _varint(block, at)
    own, at = _varint(block, at)
    length, at = _varint(block, at)
    key = key[:shared] + block[at : at + own]
    if len(key) > MOST[1]:
      raise ValueError('a name without an end')
    entries[key] = block[at + own : at + own + length]
    at += own + length
  return entries


def _varint(data, at):
  value = shift = 0
  while True:
    byte = data[at]
    value |= (byte & 127) << shift
    at, shift = at + 1, shift + 7
    if shift > 70:  # of 64 bits
      raise ValueError('a number without an end')
    if byte < 128:
      return value, at


def _fields(data):
  """Yields (number, value) of a protocol buffer; messages are bytes."""
  at = 0
  while at < len(data):
    tag, at = _varint(data, at)
    kind = tag & 7
    if kind == 0:
      value, at = _varint(data, at)
    elif kind == 2:
      size, at = _varint(data, at)
      value, at = data[at : at + size], at + size
    else:
      size = {1: 8, 5: 4}[kind]
      value, at = data[at : at + size], at + size
    yield tag >> 3, value
