"""metrics.jsonl always, TensorBoard and Weights & Biases without an account."""

import io
import json
import resource
import struct
import sys
import time

import pytest
from tensorboardX.proto import event_pb2

from ctxlm import config
from ctxlm.errors import UserError
from ctxlm.training import tracking


def tracker(folder, last_step=0, **options):
  c = config.base()
  c.tracking.update(options)
  return tracking.Tracker(folder, c, last_step)


def rows(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_a_line_a_write(tmp_path):
  log = tracker(tmp_path)
  log.write(20, {'train/loss': 5.5})
  assert rows(tmp_path) == [{'step': 20, 'train/loss': 5.5}]  # at once
  log.write(40, {'eval/x/accuracy': 0.5, 'train/loss': 4})
  log.close()
  assert rows(tmp_path)[1] == {
    'step': 40, 'eval/x/accuracy': 0.5, 'train/loss': 4.0
  }  # fmt: skip


def test_steps_after_the_checkpoint_are_forgotten(tmp_path):
  log = tracker(tmp_path)
  for step in (10, 20, 30):
    log.write(step, {'a': step})
  log.close()
  with (tmp_path / 'metrics.jsonl').open('a') as f:
    f.write('{"step": 1')  # the line that a killed run was writing
  log = tracker(tmp_path, last_step=20)
  log.write(25, {'a': 1})
  log.close()
  assert [r['step'] for r in rows(tmp_path)] == [10, 20, 25]


@pytest.mark.parametrize(
  'line',
  [b'{"step": 1, "a"', b'\xff', b'3', b'{"a": 1}', b'{"step": "1"}', b''],
)
def test_lines_that_can_not_be_read_are_left_out(tmp_path, capsys, line):
  """The last without a word, as it may be under way; others with one."""
  whole = b'{"step": 10, "a": 1.0}\n', b'{"step": 20, "a": NaN}\n'
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(b''.join(whole) + line)
  assert [r['step'] for r in tracking.read(tmp_path)] == [10, 20]
  assert not capsys.readouterr().err
  path.write_bytes(whole[0] + line + b'\n' + whole[1])
  assert [r['step'] for r in tracking.read(tmp_path)] == [10, 20]
  wanted = f'{path}, line 2 can not be read: it is left out\n'
  assert capsys.readouterr().err == wanted
  tracker(tmp_path, last_step=20).close()
  assert path.read_bytes() == b''.join(whole)


def test_a_log_that_is_gone_is_no_place_to_write_to(tmp_path):
  log = tracker(tmp_path)
  log.write(10, {'a': 1})
  (tmp_path / 'metrics.jsonl').unlink()
  with pytest.raises(FileNotFoundError, match='metrics.jsonl'):
    log.write(20, {'a': 1})
  log.close()
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_with_the_file(tmp_path):
  log = tracker(tmp_path)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))
  try:
    log.write(10, {'a': 1})
    with pytest.raises(OSError, match='File too large.*metrics.jsonl'):
      log.write(20, {'a': 1})
    with pytest.raises(OSError):
      log.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  log = tracker(tmp_path, last_step=20)  # when there is room
  log.close()
  assert [r['step'] for r in rows(tmp_path)] == [10]


def events(folder):
  """Yields what TensorBoard's files hold: records of length, CRC, event."""
  for path in sorted(folder.iterdir()):
    data = io.BytesIO(path.read_bytes())
    while head := data.read(12):
      (length,) = struct.unpack('<Q', head[:8])
      event = event_pb2.Event.FromString(data.read(length))
      data.read(4)
      for value in event.summary.value:
        yield event.step, value.tag, value.simple_value


def test_tensorboard(tmp_path):
  log = tracker(tmp_path, tensorboard=True)
  log.write(20, {'train/loss': 5.5})
  log.close()
  assert list(events(tmp_path / 'tensorboard')) == [(20, 'train/loss', 5.5)]


def test_weights_and_biases_offline(tmp_path, monkeypatch):
  monkeypatch.delenv('WANDB_MODE', raising=False)
  monkeypatch.setenv('WANDB_SILENT', 'true')
  log = tracker(tmp_path, wandb=True)
  log.write(20, {'train/loss': 5.5})
  log.close()
  (found,) = tmp_path.glob('wandb/offline-run-*/*.wandb')
  end = time.monotonic() + 60  # its own process may write a moment later
  while b'train/loss' not in found.read_bytes():
    assert time.monotonic() < end
    time.sleep(0.05)


def test_a_run_of_weights_and_biases_is_that_of_its_folder(
  tmp_path, monkeypatch
):
  import wandb

  begun = []

  class Run:
    def finish(self):
      pass

  def init(**options):
    begun.append(options)
    return Run()

  monkeypatch.setattr(wandb, 'init', init)
  first, second = tmp_path / 'a' / 'seed=0', tmp_path / 'b' / 'seed=0'
  for folder in (first, second):
    folder.mkdir(parents=True)
    tracker(folder, wandb=True).close()
  moved = first.rename(tmp_path / 'moved')
  tracker(moved, wandb=True).close()
  one, other, again = (options['id'] for options in begun)
  assert one != other and one == again
  assert [o['name'] for o in begun] == ['seed=0', 'seed=0', 'moved']
  assert all(o['resume'] == 'allow' for o in begun)
  # What is no such id, as of a folder that somebody else made, is not taken.
  (moved / 'wandb_id').write_text('../x')
  tracker(moved, wandb=True).close()
  assert len(begun[-1]['id']) == 16 and begun[-1]['id'] != one


@pytest.mark.parametrize('name', ['tensorboard', 'wandb'])
def test_missing_package_is_one_line(tmp_path, monkeypatch, name):
  module = {'tensorboard': 'tensorboardX', 'wandb': 'wandb'}[name]
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(UserError, match=rf"pip install 'ctxlm\[{name}\]'"):
    tracker(tmp_path, **{name: True})


def test_progress_is_plain_lines_in_a_log(capsys):
  progress = tracking.Progress(100, 0)
  progress.advance(20)
  progress.show(20, 'loss 5.0', 3725)
  progress.close()
  assert capsys.readouterr().err == 'step 20/100  loss 5.0  1:02:05 left\n'


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
  screen = io.StringIO()
  screen.isatty = lambda: True
  monkeypatch.setattr(sys, 'stderr', screen)
  progress = tracking.Progress(100, 0)
  assert 'compiling' in screen.getvalue()
  progress.advance(10)
  assert 'compiling' not in screen.getvalue().split('\r')[-1]
  progress.show(20, 'loss 5.0', 0)
  progress.advance(20)
  progress.say('step 20: all well')
  progress.close()
  assert '20/100' in screen.getvalue() and '20%' in screen.getvalue()
  assert 'loss 5.0' in screen.getvalue() and 'all well' in screen.getvalue()
