"""A file or folder has one writer, and is left as it was found."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from ctxlm.errors import UserError
from ctxlm.parallel import locks
from tests import tiny


def test_one_holder_who_is_named(tmp_path):
  wanted = rf'process {os.getpid()} on .* trains there; wait'
  with locks.held(tmp_path, 'trains'):
    with pytest.raises(UserError, match=wanted):
      locks.Lock(tmp_path / locks.NAME, 'trains')
    assert os.listdir(tmp_path) == [locks.NAME]
  assert not os.listdir(tmp_path)
  with locks.held(tmp_path, 'trains'):
    pass


def test_what_was_made_for_a_lock_alone_is_gone(tmp_path):
  (tmp_path / 'runs').mkdir()
  new = tmp_path / 'runs' / 'a' / 'b'
  with pytest.raises(KeyError), locks.held(new, 'trains'):
    assert new.is_dir()
    raise KeyError
  assert os.listdir(tmp_path) == ['runs'] and not os.listdir(tmp_path / 'runs')
  with locks.held(new, 'trains'):
    (new / 'config.json').touch()
  assert os.listdir(new) == ['config.json']


def test_the_lock_of_a_killed_process_serves_the_next(tmp_path):
  code = (
    'import sys, time\n'
    'from pathlib import Path\n'
    'from ctxlm.parallel import locks\n'
    f'lock = locks.Lock.of_output(Path({str(tmp_path / "out.npy")!r}))\n'
    'print("held", flush=True)\n'
    'time.sleep(60)\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code],
    stdout=subprocess.PIPE,
    cwd=tiny.ROOT,
    text=True,
  )
  assert process.stdout.readline() == 'held\n'
  wanted = f'process {process.pid} .* writes out.npy there'
  with pytest.raises(UserError, match=wanted):
    locks.Lock.of_output(tmp_path / 'out.npy')
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert os.listdir(tmp_path) == ['.out.npy.lock']
  with contextlib.closing(locks.Lock.of_output(tmp_path / 'out.npy')):
    pass
  assert not os.listdir(tmp_path)


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
  """Who waited for a file that its holder has removed, holds nothing."""
  path, flock, removed = tmp_path / 'lock', locks.fcntl.flock, []

  def late(file, how):
    if not removed:
      removed.append(path.unlink())
    flock(file, how)

  monkeypatch.setattr(locks.fcntl, 'flock', late)
  with contextlib.closing(locks.Lock(path, 'writes')):
    assert removed and path.exists()
    with pytest.raises(UserError):
      locks.Lock(path, 'writes')
