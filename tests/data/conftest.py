"""A cache of the tests' own, and a tokenizer whose tokens are numbers."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope='session')
def cache_root(tmp_path_factory):
  """The folder of the session's cache."""
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(autouse=True)
def own_cache(cache_root, monkeypatch):
  """Points the cache there."""
  monkeypatch.setenv('CTXLM_CACHE', str(cache_root))


PREPARE = """
import socket, sys
def refuse(*args, **kwargs):
  raise SystemExit('the network was asked')
socket.socket.connect = socket.getaddrinfo = refuse
from ctxlm.data.sources import corpus
source = corpus.Source()
print(source.fingerprint('train'), source.records('test')[0]['name'])
assert 'tensorflow' not in sys.modules
"""


@pytest.fixture(scope='session')
def prepared(cache_root):
  """The embedded corpus, in the cache.

  Returns:
    what each of two processes said that prepared it at once: [(exit status,
    standard output, standard error)].
  """
  env = os.environ | {'CTXLM_CACHE': str(cache_root)}
  command = [sys.executable, '-c', PREPARE]
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  both = [subprocess.Popen(command, env=env, **pipes) for _ in range(2)]
  outputs = [p.communicate(timeout=300) for p in both]
  return [(p.returncode, *said) for p, said in zip(both, outputs)]


class Numbers:
  """'7 8' is [7, 8]; 0 to 3 are pad, bos = eos, cls and sep."""

  vocab_size = 100000
  pad_id, bos_id, eos_id, cls_id, sep_id, mask_id, unk_id = 0, 1, 1, 2, 3, 4, 5
  special_ids = {0, 1, 2, 3, 4, 5}
  special_in_data = False

  def __init__(self):
    self.calls = 0
    # Each its own, so that no test finds another one's rows in the cache.
    self.fingerprint = hashlib.sha256(repr(id(self)).encode()).hexdigest()

  def encode(self, text, data=False):
    self.calls += 1
    return [int(w) for w in text.replace('.', ' ').split()]

  def encode_batch(self, texts, data=False):
    return [self.encode(t) for t in texts]


@pytest.fixture
def numbers():
  return Numbers()


@pytest.fixture
def number_documents():
  """Ten documents of 0 to 40 distinct numbers, as records."""
  rng = np.random.default_rng(0)
  sizes = [1, 0, 2, 40, 3, 17, 5, 9, 1, 30]
  documents = [rng.integers(6, 99999, n).tolist() for n in sizes]
  return [{'text': ' '.join(map(str, d))} for d in documents]
