"""PyTorch's checkpoint files, read without PyTorch and without running code.

A pickle is a program. This one may only make dictionaries and name tensors:
whatever else it asks for is refused before it runs, and what it is given is
inert: no object of its has an attribute that it could set. Both are read:
the zip archive (PyTorch 1.6 and later), and the run of pickles and raw bytes
before it, which many published checkpoints still have. Tensors stay in the
file, memory mapped, until they are sliced.
"""

import collections
import io
import pickle
import pickletools
import struct
import zipfile
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ctxlm.errors import UserError, reason

# What torch.save writes of dictionaries of tensors, in all its protocols.
OPCODES = (
  'PROTO', 'FRAME', 'STOP', 'MARK', 'POP', 'NONE', 'NEWTRUE', 'NEWFALSE', 'INT',
  'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'BINFLOAT', 'STRING',
  'BINSTRING', 'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE',
  'EMPTY_LIST', 'LIST', 'APPEND', 'APPENDS', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1',
  'TUPLE2', 'TUPLE3', 'EMPTY_DICT', 'DICT', 'SETITEM', 'SETITEMS', 'GLOBAL',
  'STACK_GLOBAL', 'REDUCE', 'BUILD', 'BINPERSID', 'PUT', 'BINPUT',
  'LONG_BINPUT', 'GET', 'BINGET', 'LONG_BINGET', 'MEMOIZE',
)  # fmt: skip
MOST_PICKLE = 2**26  # bytes of one, which names tensors and holds none
STORAGES = {
  'FloatStorage': np.dtype('float32'),
  'DoubleStorage': np.dtype('float64'),
  'HalfStorage': np.dtype('float16'),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype('int64'),
  'IntStorage': np.dtype('int32'),
  'ShortStorage': np.dtype('int16'),
  'ByteStorage': np.dtype('uint8'),
  'CharStorage': np.dtype('int8'),
  'BoolStorage': np.dtype('bool'),
}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older format


def read(path):
  """Returns {name: numpy array, memory mapped} of a file of torch.save.

  Raises:
    UserError: a damaged file, one with code in it, or no dictionary of
      tensors.
  """
  try:
    if zipfile.is_zipfile(path):
      saved, storages = _read_zip(path)
    else:
      saved, storages = _read_old(path)
    if not isinstance(saved, dict):
      raise UserError(f'{path} holds no dictionary of tensors')
    return {
      name: value.array(storages)
      for name, value in saved.items()
      if isinstance(value, _Tensor)
    }
  except UserError as e:
    raise UserError(f'{path}: {e}') from e
  except Exception as e:  # whatever a damaged pickle or archive leads to
    raise UserError(
      f'{path} is damaged, or no file of PyTorch: {reason(e)}'
    ) from e


class _Storage(NamedTuple):
  key: str
  dtype: np.dtype


class _Tensor(NamedTuple):
  storage: _Storage
  offset: int
  shape: tuple
  strides: tuple

  def array(self, storages):
    flat = storages(self.storage)
    last = sum((n - 1) * s for n, s in zip(self.shape, self.strides))
    numbers = (self.offset, *self.shape, *self.strides)
    if min(numbers, default=0) < 0 or (
      0 not in self.shape and self.offset + last >= len(flat)
    ):
      raise UserError('a tensor reaches beyond its storage')
    size = flat.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
      flat[self.offset :],
      self.shape,
      [s * size for s in self.strides],
      writeable=False,
    )


def _tensor(storage, offset, shape, strides, *_):
  if not isinstance(storage, _Storage):
    raise UserError('a tensor without a storage')
  numbers = offset, *shape, *strides
  if not all(type(n) is int and abs(n) < 2**63 for n in numbers):
    raise UserError('a tensor of a shape that is none')
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(data, *_):
  return data


def _ordered(pairs=()):
  pairs = list(pairs)
  _check_keys(key for key, _ in pairs)
  return collections.OrderedDict(pairs)


def _check_keys(keys):
  # A tuple of tuples, each twice the one before it, takes for ever to hash.
  if not all(isinstance(key, str | int) for key in keys):
    raise UserError('a dictionary with a key that is no text and no number')


ALLOWED = {
  'collections.OrderedDict': _ordered,
  'torch._utils._rebuild_tensor_v2': _tensor,
  'torch._utils._rebuild_tensor': _tensor,
  'torch._utils._rebuild_parameter': _parameter,
  'torch.Size': tuple,
}


class _Name(tuple):
  """What a pickle's global stands for; it can be called, and nothing else."""

  __slots__ = ()

  def __call__(self, *args):
    return ALLOWED[self[0]](*args)


class _Unpickler(pickle._Unpickler):
  """The one in Python, whose opcodes can be looked into as they run."""

  dispatch = dict(pickle._Unpickler.dispatch)

  def _set(self):
    _check_keys([self.stack[-2]])
    pickle._Unpickler.load_setitem(self)

  def _set_several(self):
    _check_keys(self.stack[::2])
    pickle._Unpickler.load_setitems(self)

  def _make(self):
    _check_keys(self.stack[::2])
    pickle._Unpickler.load_dict(self)

  dispatch[pickle.SETITEM[0]] = _set
  dispatch[pickle.SETITEMS[0]] = _set_several
  dispatch[pickle.DICT[0]] = _make

  def find_class(self, module, name):
    if module in ('torch', 'torch.storage') and name in STORAGES:
      return name  # a text
    if name == '_rebuild_tensor_v3':
      raise UserError(
        'it has a tensor of 8 bits or another type that is not supported: save '
        'the model in bfloat16, float16 or float32'
      )
    if f'{module}.{name}' not in ALLOWED:
      raise UserError(
        f'it asks to run {module}.{name}, which no file of weights needs; '
        'nothing was run'
      )
    return _Name((f'{module}.{name}',))

  def persistent_load(self, pid):
    kind, dtype, key = pid[:3]
    if not all(isinstance(x, str | int) for x in (kind, dtype, key)):
      raise UserError('a storage of an unknown kind')
    if kind != 'storage' or dtype not in STORAGES:
      raise UserError('a storage of an unknown kind')
    if len(pid) > 5 and pid[5] is not None:  # of the older format: views
      raise UserError('views of storages are not supported')
    return _Storage(str(key), STORAGES[dtype])


def _load(file, unpickler=_Unpickler):
  """Returns what one pickle of a file makes, having looked through it."""
  start = file.tell()
  data = file.read(MOST_PICKLE)
  view = io.BytesIO(data)
  for opcode, _, _ in pickletools.genops(view):
    if opcode.name not in OPCODES:
      raise UserError(f'it has {opcode.name}, which no file of weights needs')
  end = view.tell()
  result = unpickler(io.BytesIO(data[:end])).load()
  file.seek(start + end)
  return result


def _read_zip(path):
  with zipfile.ZipFile(path) as archive:
    entries = {i.filename: i for i in archive.infolist()}
    name = next((n for n in entries if n.endswith('/data.pkl')), None)
    if name is None:
      raise UserError('an archive without data.pkl')
    for one in (name, f'{name[: -len("data.pkl")]}byteorder'):
      if one in entries and (
        entries[one].compress_type != zipfile.ZIP_STORED
        or entries[one].file_size > MOST_PICKLE
      ):
        raise UserError(f'{one} is compressed, or too large')
    top = name[: -len('data.pkl')]
    order = f'{top}byteorder'
    if order in entries and archive.read(order) != b'little':
      raise UserError('its byte order is not little-endian')
    with archive.open(name) as f:
      saved = _load(io.BytesIO(f.read()))

  def storage(wanted):
    entry = entries.get(f'{top}data/{wanted.key}')
    if entry is None or entry.compress_type != zipfile.ZIP_STORED:
      raise UserError(f'storage {wanted.key} is missing or compressed')
    with open(path, 'rb') as f:
      f.seek(entry.header_offset + 26)  # lengths of the name and extra field
      name, extra = struct.unpack('<HH', f.read(4))
    start = entry.header_offset + 30 + name + extra
    return _map(path, wanted, start, entry.file_size)

  return saved, storage


def _read_old(path):
  with open(path, 'rb') as f:
    if _load(f) != MAGIC or _load(f) != PROTOCOL:
      raise UserError('not the magic number of PyTorch')
    if not _load(f)['little_endian']:
      raise UserError('its byte order is not little-endian')
    used = {}

    class Unpickler(_Unpickler):
      def persistent_load(self, pid):
        handle = super().persistent_load(pid)
        used[handle.key] = handle
        return handle

    saved = _load(f, Unpickler)
    places = {}
    for key in _load(f):
      (count,) = struct.unpack('<q', f.read(8))
      size = count * used[key].dtype.itemsize
      places[key] = f.tell(), size
      f.seek(size, 1)

  def storage(wanted):
    return _map(path, wanted, *places[wanted.key])

  return saved, storage


def _map(path, storage, start, size):
  if start + size > path.stat().st_size:
    raise UserError(f'storage {storage.key} ends beyond the file')
  count = size // storage.dtype.itemsize
  if not count:
    return np.zeros(0, storage.dtype)
  # np.memmap knows no bfloat16 of its own: bytes, then a view.
  raw = np.memmap(path, np.uint8, 'r', start, (count * storage.dtype.itemsize,))
  return raw.view(storage.dtype)
