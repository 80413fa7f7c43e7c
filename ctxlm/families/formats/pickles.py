"""PyTorch's checkpoint files, read without PyTorch and without running code.

A pickle is a program. This one may only make dictionaries and name tensors:
whatever else it asks for is refused before it runs. Both formats are read:
the zip archive (PyTorch 1.6 and later), and the run of pickles and raw bytes
before it, which many published checkpoints still have. Tensors stay in the
file, memory mapped, until they are sliced.
"""

import collections
import dataclasses
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

from ctxlm.errors import UserError

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
    raise UserError(f'{path} is damaged, or no file of PyTorch: {e}') from e


@dataclasses.dataclass(frozen=True)
class _Storage:
  key: str
  dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class _Tensor:
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
  return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


def _parameter(data, *_):
  return data


ALLOWED = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_tensor'): _tensor,
  ('torch._utils', '_rebuild_parameter'): _parameter,
  ('torch', 'Size'): tuple,
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module, name):
    if module in ('torch', 'torch.storage') and name in STORAGES:
      return STORAGES[name]
    if name == '_rebuild_tensor_v3':
      raise UserError(
        'it has a tensor of 8 bits or another type that is not supported: save '
        'the model in bfloat16, float16 or float32'
      )
    if (module, name) not in ALLOWED:
      raise UserError(
        f'it asks to run {module}.{name}, which no file of weights needs; '
        'nothing was run'
      )
    return ALLOWED[module, name]

  def persistent_load(self, pid):
    kind, dtype, key = pid[:3]
    if kind != 'storage' or not isinstance(dtype, np.dtype):
      raise UserError('a storage of an unknown kind')
    if len(pid) > 5 and pid[5] is not None:  # of the older format: views
      raise UserError('views of storages are not supported')
    return _Storage(str(key), dtype)


def _read_zip(path):
  with zipfile.ZipFile(path) as archive:
    entries = {i.filename: i for i in archive.infolist()}
    name = next((n for n in entries if n.endswith('/data.pkl')), None)
    if name is None:
      raise UserError('an archive without data.pkl')
    top = name[: -len('data.pkl')]
    order = f'{top}byteorder'
    if order in entries and archive.read(order) != b'little':
      raise UserError('its byte order is not little-endian')
    with archive.open(name) as f:
      saved = _Unpickler(f).load()

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
    if _Unpickler(f).load() != MAGIC or _Unpickler(f).load() != PROTOCOL:
      raise UserError('not the magic number of PyTorch')
    if not _Unpickler(f).load()['little_endian']:
      raise UserError('its byte order is not little-endian')
    used = {}

    class Unpickler(_Unpickler):
      def persistent_load(self, pid):
        handle = super().persistent_load(pid)
        used[handle.key] = handle
        return handle

    saved = Unpickler(f).load()
    places = {}
    for key in _Unpickler(f).load():
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
