"""Two real processes, joined by jax.distributed, equal one."""

import functools
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


def argvs(workdir, *flags, name):
  """Returns the command lines of two processes of a run."""
  together = f'--coordinator=localhost:{free_port()}', '--num_processes=2'
  command = tiny.command(workdir, *flags, name=name)
  return [[*command, *together, f'--process_id={i}'] for i in range(2)]


def losses(workdir):
  rows = tiny.metrics(workdir)
  return np.array([r['train/loss'] for r in rows if 'train/loss' in r])


STEPS = ('config.num_steps=10', 'config.checkpoint.every_steps=5')


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
    ('causal', (*MESH, 'config.accumulation=4')),
    ('encoders', ('config.accumulation=4',)),
    ('encoders', MESH),
  ],
)
def test_losses_equal_those_of_one_process(alone, tmp_path, name, flags):
  """10 steps; rows hold 1 to 24 tokens, so processes hold uneven shares."""
  both = tmp_path / 'both'
  processes = [
    tiny.fork(argv, 1, tmp_path / f'errors{i}')
    for i, argv in enumerate(argvs(both, *STEPS, *flags, name=name))
  ]
  for i, process in enumerate(processes):
    process.join(300)
    assert process.exitcode == 0, (tmp_path / f'errors{i}').read_text()
  want = losses(alone(name))
  assert len(set(want)) == 10
  np.testing.assert_allclose(losses(both), want, rtol=1e-5)
  # The second process writes nothing of its own, and both wrote their shards.
  assert (tmp_path / 'errors1').read_text() == ''
  a, b = tiny.state(alone(name), 10), tiny.state(both, 10)
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_allclose(b[key], a[key], rtol=1e-2, atol=2e-4)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both(text, tmp_path):
  """And the run goes on, bit for bit, in two processes and on one."""
  flags = ('config.num_steps=60', 'config.checkpoint.every_steps=50')
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'

  def start(workdir):
    return [tiny.start(argv) for argv in argvs(workdir, *flags, name='causal')]

  for process in start(whole):
    status, err = tiny.finish(process)
    assert status == 0, err
  processes = start(cut)
  assert tiny.wait_until(lambda: tiny.logged(cut) >= 3, processes[0])
  processes[1].send_signal(signal.SIGTERM)
  ends = [tiny.finish(p) for p in processes]
  assert [status for status, _ in ends] == [0, 0], ends
  step = int(re.search(r'stopped at step (\d+) of 60', ends[0][1])[1])
  assert 3 <= step < 60 and (cut / 'checkpoints' / str(step)).is_dir()
  for process in start(cut):
    status, err = tiny.finish(process)
    assert status == 0, err
  tiny.assert_same_run(whole, cut, 60)
