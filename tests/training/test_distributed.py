"""Two real processes, joined by jax.distributed, equal one."""

import functools
import os
import re
import signal
import socket

import numpy as np
import pytest

from tests import tiny

MESH = ('config.parallel.strategy=mesh', 'config.parallel.fsdp=2')


def free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def fork(workdir, *flags, name):
  """Starts two processes of a run; returns [(process, its errors' file)]."""
  together = f'--coordinator=localhost:{free_port()}', '--num_processes=2'
  command = tiny.command(workdir, *flags, name=name)
  made = []
  for i in range(2):
    errors = workdir.with_name(f'{workdir.name}_errors{i}')
    argv = [*command, *together, f'--process_id={i}']
    made.append((tiny.fork(argv, 1, errors, haste=True), errors))
  return made


def finish(processes):
  """Returns the standard errors of processes that end well."""
  return [tiny.over(*pair) for pair in processes]


def losses(workdir):
  rows = tiny.metrics(workdir)
  return np.array([r['train/loss'] for r in rows if 'train/loss' in r])


STEPS = ('config.num_steps=10', 'config.checkpoint.every_steps=10')


@pytest.fixture(scope='module')
def alone(text, tmp_path_factory):
  """Returns a function of a recipe's name to its run in one process."""

  @functools.cache
  def run(name):
    folder = tmp_path_factory.mktemp('alone') / name
    tiny.train(folder, *STEPS, name=name)
    return folder

  return run


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, flags',
  [
    ('stream', ()),
    ('encoders', ('config.accumulation=4',)),
    ('encoders', (*MESH, 'config.accumulation=4')),
  ],
)
def test_losses_equal_those_of_one_process(alone, tmp_path, name, flags):
  """10 steps; rows hold 1 to 24 tokens, so processes hold uneven shares."""
  both = tmp_path / 'both'
  finish(fork(both, *STEPS, *flags, name=name))
  want = losses(alone(name))
  assert len(set(want)) == 10
  np.testing.assert_allclose(losses(both), want, rtol=1e-5)
  # The second process writes nothing of its own, and both wrote their shards.
  assert (tmp_path / 'both_errors1').read_text() == ''
  a, b = tiny.state(alone(name), 10), tiny.state(both, 10)
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_allclose(b[key], a[key], rtol=1e-2, atol=2e-4)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both(text, tmp_path):
  """And the run goes on, bit for bit."""
  flags = ('config.num_steps=60', 'config.checkpoint.every_steps=50')
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  finish(fork(whole, *flags, name='causal'))
  processes = fork(cut, *flags, name='causal')
  assert tiny.wait_until(lambda: tiny.logged(cut) >= 3, processes[0][0])
  os.kill(processes[1][0].pid, signal.SIGTERM)
  err, _ = finish(processes)
  step = int(re.search(r'stopped at step (\d+) of 60', err)[1])
  assert 3 <= step < 60 and (cut / 'checkpoints' / str(step)).is_dir()
  finish(fork(cut, *flags, name='causal'))
  tiny.assert_same_run(whole, cut, 60)
