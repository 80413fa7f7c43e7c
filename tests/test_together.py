"""Points of the same shapes train as one program, and are what they are alone."""

import signal
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ctxlm import together

RATES = (0.1, 0.3)
KEYS = "TOGETHER = ('seed', 'optimizer.learning_rate')\n"


class Plain:
  """A place that compiles nothing, and counts how often it is asked to."""

  compiled = 0

  def compile(self, function, donate=False, whole=0):
    self.compiled += 1
    return lambda *args: function(*args, axis=None)


def step(state, batch, until, scalars, *, axis):
  return state + batch * scalars, state * until


def test_a_call_answers_all_who_called():
  where = Plain()
  group = together.Group(3, where)
  found = {}

  def member(i, calls):
    state = jnp.float32(i)
    for n in range(calls):
      state, seen = group.call(i, step, state, 10.0, n, float(i))
      found[i, n] = float(state), float(seen)
    group.leave(i)

  threads = [
    threading.Thread(target=member, args=(i, calls))
    for i, calls in enumerate((2, 4, 3))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(60)
  want = {
    (i, n): (i + 10 * i * (n + 1), (i + 10 * i * n) * n)
    for i, calls in enumerate((2, 4, 3))
    for n in range(calls)
  }
  assert found == want
  assert where.compiled == 3  # of three, of two, of one


def test_an_error_of_the_call_comes_to_all():
  def breaks(*_, axis):
    raise ValueError('no')

  group = together.Group(2, Plain())
  said = []

  def member(i):
    try:
      group.call(i, breaks, jnp.zeros(()), 0.0, 1, 0.0)
    except ValueError as e:
      said.append(str(e))

  threads = [threading.Thread(target=member, args=(i,)) for i in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(60)
  assert said == ['no', 'no']


def start(path, folder, *flags):
  argv = [sys.executable, '-m', 'ctxlm.sweep', str(path)]
  return tiny.start([*argv, f'--workdir={folder}', '--seeds=2', *flags])


def write(tmp_path, rates=RATES, keys=KEYS):
  """Writes the toy experiment, with TOGETHER and other rates."""
  text = (tiny.ROOT / 'tests' / 'toy.py').read_text()
  path = tmp_path / 'toy_together.py'
  path.write_text(text.replace('(0.1, 0.3)})', f'{rates}}})') + keys)
  return path


def curves(folder):
  """Returns {run: [row]}; a squared error's root stands in for it.

  The slope is near 2 and rounds to 1.2e-7, and so does the root, which is in
  proportion to what the slope still lacks. Of the square, that is no fixed
  share: a thousandth once the square is 1e-8.
  """
  return {
    run.name: [
      {
        k: v**0.5 if k.endswith('loss') else v
        for k, v in row.items()
        if 'second' not in k
      }
      for row in tiny.metrics(run)
    ]
    for run in folder.glob('*=*')
  }


def same(found, want):
  assert found.keys() == want.keys()
  for name, rows in want.items():
    assert len(found[name]) == len(rows)
    for one, other in zip(found[name], rows, strict=True):
      assert one == pytest.approx(other, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_points_equal_those_that_trained_alone(tmp_path):
  alone, both = tmp_path / 'alone', tmp_path / 'both'
  status, err = tiny.finish(start('tests/toy.py', alone))
  assert status == 0, err
  status, err = tiny.finish(start(write(tmp_path), both))
  assert status == 0 and '4 of 4 points are done' in err, err
  same(curves(both), curves(alone))
  logs = [p.read_text() for p in (both / 'logs').iterdir()]
  assert [text.count(' parameters, ') for text in logs] == [4]


@pytest.mark.slow
def test_one_that_fails_stops_no_other(tmp_path):
  folder = tmp_path / 'dir'
  status, err = tiny.finish(start(write(tmp_path, (0.1, 1e30)), folder))
  assert status == 1
  assert '2 of 4 points are done; 2 failed' in err
  assert 'FAILED  learning_rate=1e+30,seed=0: ctxlm train: loss' in err
  assert 'done    learning_rate=0.1,seed=1' in err


@pytest.mark.slow
def test_a_group_that_is_stopped_goes_on(tmp_path):
  path = write(tmp_path)
  flags = ['--config.num_steps=2000', '--config.checkpoint.every_steps=200']
  flags.append('--config.evaluators.line.every_steps=100')
  whole, folder = tmp_path / 'whole', tmp_path / 'dir'
  assert tiny.finish(start(path, whole, *flags))[0] == 0
  process = start(path, folder, *flags)
  assert tiny.wait_until(
    lambda: sum(map(tiny.logged, folder.glob('*=*'))) > 100, process
  )
  process.send_signal(signal.SIGTERM)
  process.wait(60)
  time.sleep(0.5)
  steps = [rows[-1]['step'] for rows in curves(folder).values()]
  assert len(steps) == 4 and max(steps) < 2000
  status, err = tiny.finish(start(path, folder, *flags))
  assert status == 0, err
  text = ''.join(p.read_text() for p in (folder / 'logs').iterdir())
  assert text.count('going on from step') == 4
  want = curves(whole)
  for name, rows in curves(folder).items():
    for key in ('train/loss', 'eval/line/loss'):
      one, other = (
        [(r['step'], r[key]) for r in x if key in r] for x in (rows, want[name])
      )
      np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_key_that_may_not_differ(tmp_path):
  path = write(tmp_path, keys="TOGETHER = ('seed', 'batch_size')\n")
  status, err = tiny.finish(start(path, tmp_path / 'dir'))
  assert status == 2 and err.count('\n') == 1
  assert "TOGETHER has 'batch_size'; it may have seed, " in err
  assert not (tmp_path / 'dir').exists()
