"""An interrupted run goes on as if nothing had been."""

import os
import re
import shutil
import signal

import numpy as np
import pytest

from tests import tiny

MESH = ('config.parallel.strategy=mesh',)
TENSOR = 'config.parallel.tensor=2'


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, devices, flags, elsewhere, how',
  [
    (
      'both',
      1,
      ('config.optimizer.ema_decay=0.9',),
      (4, (*MESH, TENSOR)),
      signal.SIGTERM,
    ),
    ('causal', 2, (*MESH, 'config.parallel.fsdp=2'), (1, ()), signal.SIGINT),
  ],
)
def test_a_signal_saves_and_resume_is_bitwise(
  text, tmp_path, name, devices, flags, elsewhere, how
):
  """SIGTERM or Ctrl-C; and equal to rounding on other devices."""
  flags += ('config.num_steps=40', 'config.checkpoint.every_steps=15')
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  tiny.train(whole, *flags, name=name, devices=devices)
  argv = tiny.command(cut, *flags, name=name)

  errors = tmp_path / 'errors'
  process = tiny.fork(argv, devices, errors, haste=True)
  assert tiny.wait_until(lambda: tiny.logged(cut) >= 3, process)
  os.kill(process.pid, how)
  last = tiny.over(process, errors).splitlines()[-1]
  step = int(re.match(r'stopped at step (\d+) of 40, saved in', last)[1])
  assert last.endswith('run the same command again to go on')
  assert 3 <= step < 40
  assert (cut / 'checkpoints' / str(step)).is_dir()

  other = shutil.copytree(cut, tmp_path / 'other')
  err = tiny.train(cut, *flags, name=name, devices=devices)
  assert f'going on from step {step} of 40' in err
  tiny.assert_same_run(whole, cut, 40)

  devices, more = elsewhere
  flags = [f for f in flags if 'parallel' not in f]
  tiny.train(other, *flags, *more, name=name, devices=devices)
  for a, b in zip(tiny.metrics(whole), tiny.metrics(other), strict=True):
    # A contrastive loss near 0 is a difference of logits of 20: one rounding of
    # those is 2e-6.
    assert b == pytest.approx(a, rel=1e-4, abs=2e-6)


@pytest.mark.slow
def test_sigkill_at_five_moments(text, tmp_path):
  """Killed 5 times and restarted, a run ends as if nothing had been.

  Two of the kills come as soon as a save has begun, two soon after one has
  ended, and one after a random time: while it starts, restores or trains. Many
  more are those of tests/kill.py.
  """
  flags = ('config.num_steps=80', 'config.optimizer.ema_decay=0.9')
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  tiny.train(whole, *flags, 'config.checkpoint.every_steps=80')
  flags += ('config.checkpoint.every_steps=2',)
  argv = tiny.command(cut, *flags)
  rng = np.random.default_rng(0)
  in_a_save = goes_on = 0

  def temporary():
    return set((cut / 'checkpoints').glob('*tmp*'))

  def begins_to_save(left):
    return lambda: temporary() - left

  def saved():
    return set((cut / 'checkpoints').glob('[0-9]*')) - temporary()

  def has_saved(before):
    return lambda: saved() - before

  for i in range(5):
    errors, left = tmp_path / 'errors', temporary()
    process = tiny.fork(argv, 1, errors, haste=True)
    try:
      if i % 3 == 0:
        assert tiny.wait_until(begins_to_save(left), process)
      elif i % 3 == 1:
        assert tiny.wait_until(has_saved(saved()), process)
        process.join(rng.uniform(0, 0.3))
      else:
        process.join(rng.uniform(0, 3.0))
      assert process.is_alive(), errors.read_text()
    finally:
      process.kill()
      process.join()
    assert process.exitcode == -signal.SIGKILL
    in_a_save += bool(temporary())
    goes_on += 'going on from step' in errors.read_text()
    assert 'damaged' not in errors.read_text()
  tiny.train(cut, *flags)
  tiny.assert_same_run(whole, cut, 80)
  assert not temporary()
  assert in_a_save >= 1 and goes_on >= 1
