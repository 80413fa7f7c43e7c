"""Lines of text, the cache folder, and writes that are whole or absent.

Everything in the folder is derived from text, so the folder may be removed at
any time. An entry is named by the hash of what it was made of; it is built
beside its place and renamed, so two processes may make the same one at once.
"""

import codecs
import contextlib
import fcntl
import glob
import hashlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import uuid
import zlib
from concurrent import futures
from pathlib import Path

import numpy as np

from ctxlm.errors import TEMPORARY, UserError, naming, note


def lines(path, encoding='utf-8', hint=''):
  """Yields a text file's lines without their ends; a byte order mark is none.

  Only \\n ends a line, or \\r\\n; \\r alone does in a file that has no \\n.
  One line is in memory at a time, so that files may be large, and pipes; one
  of COMPRESSED is read as what it was, whatever its name.

  Args:
    path: of the file.
    encoding: of its text, one that holds ASCII as ASCII does.
    hint: what else may be done where the bytes are of another encoding.

  Raises:
    UserError: bytes that aren't of the encoding, with their line; no such
      file, or no permission.
  """
  utf8 = codecs.lookup(encoding).name == 'utf-8'
  begins = 'utf-8-sig' if utf8 else encoding
  try:
    rest = _raw_lines(path)
    first = next(rest, b'')
    begin = [first] if first.endswith(b'\n') else first.splitlines()
    for number, line in enumerate(itertools.chain(begin, rest), 1):
      line = line.removesuffix(b'\n').removesuffix(b'\r')
      try:
        yield line.decode(begins if number == 1 else encoding)
      except UnicodeDecodeError as e:
        raise UserError(
          f'{path} is not {encoding.upper()}: byte 0x{line[e.start]:02x} in '
          f'line {number}; {hint}convert it, for instance with iconv -t UTF-8'
        ) from e
  except OSError as e:
    raise UserError(f"can't read {path}: {e.strerror}") from e


MOST_LINE = 2**30  # bytes, which are in memory at once
# By how they begin: the module that reads them, and their ending.
COMPRESSED = {
  rb'\x1f\x8b': ('gzip', '.gz'),
  rb'BZh[1-9](1AY&SY|\x17rE8P\x90)': ('bz2', '.bz2'),
  rb'\xfd7zXZ\x00': ('lzma', '.xz'),
  rb'\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18': ('zstd', '.zst'),
}
# What else is no text, and looks like some for a while.
ARCHIVES = {
  rb'PK[\x03\x05]': 'a ZIP archive',
  rb'PAR1\x15': 'a Parquet file',
  rb'%PDF-': 'a PDF',
  rb'(?s:.{256})\x00ustar': 'a tar archive',
}


def _raw_lines(path):
  with open(path, 'rb') as f:
    kind = _of(COMPRESSED, f)
    stream = _compression(kind[0], path).open(f) if kind else f
    try:
      if archive := _of(ARCHIVES, stream):
        raise UserError(f'{path} is {archive}: take the texts out of it first')
      while line := stream.readline(MOST_LINE):
        if len(line) == MOST_LINE:
          raise UserError(
            f'{path} has a line of more than {MOST_LINE >> 20} MB: break it'
          )
        yield line
    except UserError:
      raise
    except Exception as e:  # each kind has some of its own
      if not kind:
        raise
      raise UserError(f'{path} is damaged ({kind[0]}): {e}') from e


def _of(kinds, stream):
  head = stream.peek(512)
  return next((kind for k, kind in kinds.items() if re.match(k, head)), None)


def _compression(name, path):
  # The module that opens a kind of COMPRESSED.
  zstd = 'compression.zstd', 'backports.zstd'  # since Python 3.14, and before
  for module in zstd if name == 'zstd' else (name,):
    with contextlib.suppress(ModuleNotFoundError):
      return importlib.import_module(module)
  raise UserError(f"{path} needs backports.zstd: pip install 'ctxlm[zstd]'")


def ending(path):
  """Returns how a file's name ends, a compressed one's as that in it: '.csv'.

  >>> ending('a.CSV'), ending('a.csv.gz'), ending('a')
  ('.CSV', '.csv', '')
  """
  root, end = os.path.splitext(path)
  own = {end for _, end in COMPRESSED.values()}
  return os.path.splitext(root)[1] if end.lower() in own else end


def inside(folder, name):
  """Returns the path of a file of a folder that somebody else may have made.

  A link is followed as far as it stays in the folder; from a snapshot of
  Hugging Face's cache (models--X/snapshots/REV) to that model's blobs, too.

  Args:
    folder: pathlib.Path.
    name: of the file below it, as some file of the folder may say it.

  Raises:
    UserError: it lies elsewhere, or is a device, a pipe or a socket.
  """
  folder, path = Path(folder), Path(folder) / name
  try:
    real, root = path.resolve(), folder.resolve()
    rooms = [root]
    model = root.parent.parent
    if root.parent.name == 'snapshots' and model.name.startswith('models--'):
      rooms.append(model / 'blobs')
    if not any(real.is_relative_to(room) for room in rooms):
      raise UserError(
        f'{path} leads out of its folder, to {real}: copy the file into it'
      )
    if real.exists() and not (real.is_file() or real.is_dir()):
      raise UserError(f'{path} is a device, a pipe or a socket, and no file')
  except (OSError, ValueError, RuntimeError) as e:  # of loops and odd names
    raise UserError(f"can't read {str(path)!r}: {e}") from e
  return path


def read_json(path, kind=dict):
  """Returns what a JSON file holds.

  Args:
    path: of the file; it and its folder may be somebody else's, see `inside`.
    kind: dict or list, of which it must be.

  Raises:
    UserError: no such file, another kind in it, or none that is JSON.
  """
  path = Path(path)
  inside(path.parent, path.name)
  try:
    if path.stat().st_size > MOST_JSON:
      raise UserError(f'{path} is too large to be settings')
    content = json.loads(path.read_text(encoding='utf-8-sig'))
  except OSError as e:
    raise UserError(f'no file {path}') from e
  except (ValueError, RecursionError) as e:
    raise UserError(f'{path} is not JSON: {e}') from e
  if not isinstance(content, kind):
    what = {dict: 'object', list: 'list'}[kind]
    raise UserError(f'{path} holds no {what}')
  return content


MOST_JSON = 2**28  # bytes; a tokenizer of 250,000 tokens has 2^24


def split_lines(text):
  """Returns a text's lines without their ends, which are those of `lines`."""
  end = '\n' if '\n' in text else '\r'
  stream = io.StringIO(text, newline=end)
  return [line.removesuffix(end).removesuffix('\r') for line in stream]


def cache_dir():
  """Returns the folder: $CTXLM_CACHE, or ~/.cache/ctxlm; it may not exist."""
  where = os.environ.get('CTXLM_CACHE')
  return Path(where) if where else Path.home() / '.cache' / 'ctxlm'


def digest(*parts):
  """Returns a hash, 32 hexadecimal digits, of strings, bytes and numbers.

  Parts are delimited: ('ab', 'c') and ('a', 'bc') differ.
  """
  h = hashlib.sha256()
  for part in parts:
    data = part if isinstance(part, bytes) else repr(part).encode()
    h.update(str(len(data)).encode() + b':' + data)
  return h.hexdigest()[:32]


@contextlib.contextmanager
def new_folder(path, over=False):
  """Gives an empty folder that becomes `path` when the block ends well.

  If `path` holds something by then, another process was faster with the same
  content: its folder stays, and this one is removed; with `over` it is what
  was there that goes.
  """
  path = Path(path)
  with naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
  with _beside(path, Path.mkdir) as new:
    yield new
    if over and path.exists():
      shutil.rmtree(path)
    try:
      os.rename(new, path)
    except OSError:
      if not path.is_dir():
        raise


def folder(kind, key, build):
  """Returns the entry `kind/key`, made by `build(empty folder)` if missing.

  Its files are held against their checksums, once a process; a damaged entry
  is said to be so, and made anew.
  """
  path = cache_dir() / kind / key
  content = path / CONTENT
  if path in _whole and content.is_dir():
    return content
  if path.is_dir() and (damage := _damage(path)):
    note(f'{path} is damaged ({damage}): it is made anew')
    shutil.rmtree(path, ignore_errors=True)  # another may be at it too
  if not path.is_dir():
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise UserError(
        f'the cache {cache_dir()} is not writable ({e.strerror}): '
        'set CTXLM_CACHE to another folder'
      ) from e
    with new_folder(path) as new:
      (new / CONTENT).mkdir()
      build(new / CONTENT)
      (new / SUMS).write_text(json.dumps(_sums(new / CONTENT)))
  _whole.add(path)
  return content


CONTENT, SUMS = 'content', 'checksums.json'
CHUNK = 2**24  # bytes
_whole = set()  # entries of the cache that this process has looked through


def _sizes(path):
  # {name: bytes} of a folder's files.
  paths = (
    Path(top) / name for top, _, files in os.walk(path) for name in files
  )
  return {
    str(p.relative_to(path)): p.stat().st_size
    for p in sorted(paths)
    if p.is_file() and not p.is_symlink()
  }


def _sums(path):
  # {name: [CRC-32 of each CHUNK]} of a folder's files. All cores read: some
  # GB/s of what is in memory, else as fast as the disk.
  names = _sizes(path)
  places = [
    (name, start)
    for name, size in names.items()
    for start in range(0, max(size, 1), CHUNK)
  ]

  def crc(place):
    name, start = place
    with open(path / name, 'rb') as f:
      f.seek(start)
      return zlib.crc32(f.read(CHUNK))

  sums = {name: [] for name in names}
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for (name, _), value in zip(places, pool.map(crc, places)):
      sums[name].append(value)
  return sums


def _damage(path):
  # What is wrong with an entry of the cache, or ''.
  try:
    wanted = read_json(path / SUMS)
    sizes = _sizes(path / CONTENT)
    if odd := sizes.keys() ^ wanted.keys():
      return min(odd)
    for name, size in sizes.items():  # before one of any size is read
      if len(wanted[name]) < size / CHUNK:
        return name
    sums = _sums(path / CONTENT)
  except (OSError, TypeError, UserError):
    return f'{SUMS} can not be read'
  return ', '.join(sorted(n for n in sums if sums[n] != wanted[n]))


@contextlib.contextmanager
def new_file(path):
  """Gives a path beside `path`; what is written there becomes it, whole.

  If the block fails, whatever was at `path` stays, and nothing else.
  """
  path = Path(path)
  with _beside(path, Path.touch) as new:
    yield new
    os.replace(new, path)


def write_text(path, text):
  """Writes a UTF-8 file whole or not at all."""
  with new_file(path) as new:
    new.write_text(text, encoding='utf-8')


def write_array(path, array):
  """Writes a .npy file whole or not at all."""
  array = np.asarray(array, order='C')
  header = np.lib.format.header_data_from_array_1_0(array)
  with new_file(path) as new, new.open('wb') as f:
    np.lib.format.write_array_header_1_0(f, header)
    f.write(array.data)  # np.save hides why it fails


def is_temporary(path):
  """Whether a killed process may have left it on its way to another name."""
  return TEMPORARY.search(Path(path).name) is not None


@contextlib.contextmanager
def _beside(path, make):
  # Gives a file or a folder on its way to be `path`. What a killed process
  # left is cleared first: a living one holds a lock on its own.
  for old in path.parent.glob(f'{glob.escape(path.name)}.*.new'):
    if is_temporary(old) and (lock := _lock(old, fcntl.LOCK_NB)):
      with lock:
        _remove(old)
  with naming(path):
    while True:
      new = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}.new')
      make(new)
      lock = _lock(new)
      if new.exists():
        break  # else it was cleared before it had its lock
    with lock or contextlib.nullcontext():
      try:
        yield new
      finally:
        _remove(new)


def _lock(path, how=0):
  # A context that holds the lock of a file or folder; None where there is none.
  try:
    file = os.open(path, os.O_RDONLY)
  except OSError:
    return None
  held = contextlib.ExitStack()
  held.callback(os.close, file)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | how)
  except OSError:
    held.close()
    return None
  return held


def _remove(path):
  if path.is_dir():
    shutil.rmtree(path, ignore_errors=True)
  else:
    path.unlink(missing_ok=True)
