import threading

import pytest

from ctxlm import files as cache


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
