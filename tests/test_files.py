import bz2
import errno
import gzip
import io
import lzma
import os
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest

try:
  from compression import zstd
except ModuleNotFoundError:
  from backports import zstd

from ctxlm import errors
from ctxlm import files as cache
from ctxlm.errors import UserError


@pytest.fixture
def cache_root(tmp_path, monkeypatch):
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path))
  return tmp_path


def test_a_failed_build_leaves_nothing(cache_root):
  def build(folder):
    (folder / 'half').write_text('x')
    raise RuntimeError

  with pytest.raises(RuntimeError):
    cache.folder('kind', 'failed', build)
  assert not list((cache_root / 'kind').iterdir())


def test_many_at_once_make_one_whole_entry(cache_root):
  barrier = threading.Barrier(8)
  found = []

  def build(folder):
    barrier.wait()  # all are building before any has finished
    for i in range(20):
      (folder / str(i)).write_text('x')

  def run():
    path = cache.folder('kind', 'same', build)
    found.append(sorted(p.name for p in path.iterdir()))

  threads = [threading.Thread(target=run) for _ in range(8)]
  for t in threads:
    t.start()
  for t in threads:
    t.join()
  assert found == [sorted(map(str, range(20)))] * 8
  assert [p.name for p in (cache_root / 'kind').glob('same*')] == ['same']


def test_digest_tells_the_parts_apart():
  assert cache.digest('ab', 'c') != cache.digest('a', 'bc')
  assert cache.digest(1) != cache.digest('1')
  assert cache.digest('ab', 'c') == cache.digest('ab', 'c')


# What str.splitlines takes for an end, and the formats of text files don't.
OTHERS = '\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029'


@pytest.mark.parametrize(
  'text, expected',
  [
    ('', []),
    ('a', ['a']),
    ('a\n', ['a']),
    ('a\n\nb\n\n', ['a', '', 'b', '']),
    ('a\r\nb\r\n', ['a', 'b']),
    ('a\r\nb\nc', ['a', 'b', 'c']),
    # \r alone ends a line only where nothing else does.
    ('a\rb\r\rc\r', ['a', 'b', '', 'c']),
    ('a\rb\nc\rd\n', ['a\rb', 'c\rd']),
    ('a\rb\r\n', ['a\rb']),
    (f'a{OTHERS}b\nc', [f'a{OTHERS}b', 'c']),
    (f'a{OTHERS}b', [f'a{OTHERS}b']),
  ],
)
def test_lines(tmp_path, text, expected):
  assert cache.split_lines(text) == expected
  for mark in ('', '\ufeff')[: 1 + bool(text)]:
    (tmp_path / 'a').write_bytes((mark + text).encode())
    assert list(cache.lines(tmp_path / 'a')) == expected


def test_lines_that_are_no_utf8(tmp_path):
  (tmp_path / 'a').write_bytes(b'ok\nb\xff\n')
  with pytest.raises(UserError, match='not UTF-8: byte 0xff in line 2'):
    list(cache.lines(tmp_path / 'a'))
  (tmp_path / 'a').write_bytes(b'ok\rb\r\xff')
  with pytest.raises(UserError, match='byte 0xff in line 3'):
    list(cache.lines(tmp_path / 'a'))
  with pytest.raises(UserError, match="can't read .*No such file"):
    list(cache.lines(tmp_path / 'b'))


@pytest.mark.parametrize('kind', [gzip, bz2, lzma, zstd])
def test_lines_of_compressed_files(tmp_path, kind):
  path = tmp_path / 'a'
  rng = np.random.default_rng(0)
  wanted = ['\xfc', *map(str, rng.integers(2**60, size=20_000)), '', 'last']
  text = '\ufeff' + '\r\n'.join(wanted)
  data = kind.compress(text[:999].encode()) + kind.compress(text[999:].encode())
  path.write_bytes(data)
  assert list(cache.lines(path)) == wanted
  path.write_bytes(data[:-1000])
  with pytest.raises(UserError, match='a is damaged .*: '):
    list(cache.lines(path))
  path.write_bytes(kind.compress(b'ok\nb\xff\n'))
  with pytest.raises(UserError, match='not UTF-8: byte 0xff in line 2'):
    list(cache.lines(path))
  path.write_bytes(kind.compress(b''))
  assert list(cache.lines(path)) == []


def test_lines_without_the_library(tmp_path, monkeypatch):
  (tmp_path / 'a.zst').write_bytes(zstd.compress(b'a'))
  for name in ('compression.zstd', 'backports.zstd'):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(UserError, match=r"a.zst needs .*'ctxlm\[zstd\]'"):
    list(cache.lines(tmp_path / 'a.zst'))


def test_archives_are_no_text(tmp_path):
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode='w') as tar:
    tar.add(__file__)
  (tmp_path / 'a.tar').write_bytes(archive.getvalue())
  (tmp_path / 'a.tar.gz').write_bytes(gzip.compress(archive.getvalue()))
  with zipfile.ZipFile(tmp_path / 'a.docx', 'w') as zipped:
    zipped.write(__file__)
  for path in tmp_path.iterdir():
    with pytest.raises(UserError, match='is a (tar|ZIP) archive: take'):
      list(cache.lines(path))


def test_files_are_whole_or_as_they_were(tmp_path):
  path = tmp_path / 'a.npy'
  cache.write_array(path, np.arange(3))
  with pytest.raises(RuntimeError), cache.new_file(path) as new:
    new.write_text('half')
    raise RuntimeError
  np.testing.assert_array_equal(np.load(path), np.arange(3))
  cache.write_text(tmp_path / 'b.txt', 'ü\n')
  cache.write_text(tmp_path / 'b.txt', 'ö\n')
  assert (tmp_path / 'b.txt').read_bytes() == 'ö\n'.encode()
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.npy', 'b.txt']


def test_folders_are_whole_or_absent(tmp_path):
  path = tmp_path / 'folder'
  with pytest.raises(RuntimeError), cache.new_folder(path) as new:
    (new / 'half').write_text('x')
    raise RuntimeError
  assert not list(tmp_path.iterdir())
  path.mkdir()  # an empty one gives way
  with cache.new_folder(path) as new:
    (new / 'whole').write_text('x')
  assert [p.name for p in path.iterdir()] == ['whole']


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def _swell(path):
  path.touch()
  os.truncate(path, 2**40)  # no disk holds it, and nobody waits for its sum


@pytest.mark.parametrize(
  'damage',
  [
    lambda entry: _flip(entry / 'content' / 'below' / 'tokens'),
    lambda entry: (entry / 'content' / 'below' / 'tokens').write_bytes(b''),
    lambda entry: (entry / 'content' / 'meta').unlink(),
    lambda entry: (entry / 'content' / 'more').touch(),
    lambda entry: os.truncate(entry / 'content' / 'meta', 2**40),
    lambda entry: _swell(entry / 'content' / 'more'),
    lambda entry: (entry / 'checksums.json').write_text('{'),
    lambda entry: (entry / 'checksums.json').write_text('[[]]'),
    lambda entry: (entry / 'checksums.json').write_text('{"meta": 1}'),
    lambda entry: (entry / 'checksums.json').unlink(),
  ],
)
def test_a_damaged_entry_is_made_anew(cache_root, monkeypatch, capsys, damage):
  monkeypatch.setattr(cache, 'CHUNK', 1000)
  built = []

  def build(folder):
    built.append(folder)
    (folder / 'below').mkdir()
    (folder / 'below' / 'tokens').write_bytes(bytes(range(256)) * 20)
    (folder / 'meta').write_text('{}')

  path = cache.folder('kind', 'key', build)
  monkeypatch.setattr(cache, '_whole', set())  # as in another process
  assert cache.folder('kind', 'key', build) == path and len(built) == 1
  damage(cache_root / 'kind' / 'key')
  assert cache.folder('kind', 'key', build) == path and len(built) == 1
  monkeypatch.setattr(cache, '_whole', set())
  errors.note.cache_clear()
  assert cache.folder('kind', 'key', build) == path and len(built) == 2
  assert (path / 'below' / 'tokens').read_bytes() == bytes(range(256)) * 20
  err = capsys.readouterr().err
  assert 'is damaged' in err and err.count('\n') == 1


def test_arrays_are_written_as_numpy_does(tmp_path):
  for array in (
    np.arange(6.0).reshape(2, 3).T,
    np.float32(3),
    np.zeros((0, 4)),
  ):
    cache.write_array(tmp_path / 'a.npy', array)
    np.testing.assert_array_equal(np.load(tmp_path / 'a.npy'), array)
    np.save(tmp_path / 'b.npy', np.asarray(array, order='C'))
    whole = (tmp_path / 'b.npy').read_bytes()
    assert (tmp_path / 'a.npy').read_bytes() == whole


def test_what_the_dead_left_is_cleared_and_the_living_stay(tmp_path):
  """What a process is at holds a lock, which dies with it."""
  dead = tmp_path / 'a.txt.0123abcd.new'
  folder = tmp_path / 'model.0123abcd.new'
  others = ('a.txt.new', 'b.txt.0123abcd.new', 'a.txt.0123abcd.new.txt')
  for name in others:
    (tmp_path / name).touch()
  dead.write_text('half')
  (folder / 'below').mkdir(parents=True)
  with cache.new_file(tmp_path / 'a.txt') as living:
    assert not dead.exists()
    cache.write_text(tmp_path / 'a.txt', 'by another')
    living.write_text('mine')  # it was not cleared
  assert (tmp_path / 'a.txt').read_text() == 'mine'
  with cache.new_folder(tmp_path / 'model') as living:
    assert not folder.exists()
    with cache.new_folder(tmp_path / 'model'):
      pass
    assert living.is_dir()
  names = {p.name for p in tmp_path.iterdir()}
  assert names == {'a.txt', 'model', *others}


def test_what_is_cleared_before_it_has_its_lock_is_made_again(
  tmp_path, monkeypatch
):
  touched, touch = [], cache.Path.touch

  def late(path):
    touch(path)
    touched.append(path)
    if len(touched) == 1:  # another takes it for what a dead one left
      path.unlink()

  monkeypatch.setattr(cache.Path, 'touch', late)
  cache.write_text(tmp_path / 'a.txt', 'whole')
  assert len(touched) == 2
  assert os.listdir(tmp_path) == ['a.txt']


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_errors_name_what_was_to_be_written(tmp_path, number):
  """By the name that it was to have, also where the system said none."""
  path = tmp_path / 'model'
  where = {
    None: path,
    str(tmp_path / 'model.0123abcd.new'): path,
    str(tmp_path / 'model.0123abcd.new' / 'a.json'): path / 'a.json',
    '/else/where': '/else/where',
  }
  for said, wanted in where.items():
    with pytest.raises(OSError) as e, errors.naming(path):
      raise OSError(number, os.strerror(number), said)
    assert e.value.filename == str(wanted) and e.value.errno == number
  with pytest.raises(OSError) as e, errors.naming(path):
    raise OSError(number, 'a copy', '/else/where', None, f'{path}/a.json')
  assert e.value.filename == f'{path}/a.json'
