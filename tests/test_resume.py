"""An interrupted run goes on as if nothing had been."""

import re

import pytest
import tiny


@pytest.mark.parametrize(
  'name, devices, flags',
  [
    ('both', 1, ('config.optimizer.ema_decay=0.9',)),
    ('causal', 2, ('config.parallel.strategy=mesh', 'config.parallel.fsdp=2')),
  ],
)
def test_sigterm_saves_and_resume_is_bitwise(
  text, tmp_path, name, devices, flags
):
  flags += ('config.num_steps=40', 'config.checkpoint.every_steps=7')
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  tiny.train(whole, *flags, name=name, devices=devices)
  argv = tiny.command(cut, *flags, name=name)

  process = tiny.start(argv, devices)
  assert tiny.wait_until(lambda: tiny.logged(cut) >= 3, process)
  status, err = tiny.stop(process)
  assert status == 0, err
  last = err.splitlines()[-1]
  step = int(re.match(r'stopped at step (\d+) of 40, saved in', last)[1])
  assert last.endswith('run the same command again to go on')
  assert 3 <= step < 40
  assert (cut / 'checkpoints' / str(step)).is_dir()

  err = tiny.train(cut, *flags, name=name, devices=devices)
  assert f'going on from step {step} of 40' in err
  tiny.assert_same_run(whole, cut, 40)
