"""Successive halving stops who lags, and nobody else."""

import json
import sys

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import asha
from tests import tiny


def sweep(log, *argv):
  argv = [sys.executable, '-m', 'ctxlm', 'sweep', *argv]
  process = tiny.fork(argv, 1, log, haste=True, main=tiny.forks_points)
  return tiny.ended(process), log.read_text()


def rows(*losses):
  return [{'step': 10 * (i + 1), 'loss': x} for i, x in enumerate(losses)]


def test_rungs():
  assert asha.Asha('loss', reduction=3).rungs(81) == [1, 3, 9, 27]
  assert asha.Asha('loss', reduction=3, least=5).rungs(81) == [9, 27]
  assert asha.Asha('loss', reduction=4, least=40).rungs(100) == []


def test_the_best_third_goes_on():
  halving = asha.Asha('loss', reduction=3, least=10)  # rungs 10 and 30 of 90
  assert halving.lags('a', rows(5.0), 90) is None  # the first has no rival
  assert halving.lags('b', rows(6.0), 90) == (10, 6.0)
  assert halving.lags('c', rows(4.0), 90) is None
  assert halving.lags('d', rows(4.5), 90) is None  # second of 4: two go on
  assert halving.lags('e', rows(3.0), 90) is None
  # At the next rung there are only those that were let go on.
  assert halving.lags('a', rows(5.0, 4.0, 2.0), 90) is None
  assert halving.lags('c', rows(4.0, 3.5, 3.0), 90) == (30, 3.0)
  assert halving.lags('e', rows(3.0, 2.0, 1.0), 90) is None


def test_largest_and_not_finite():
  halving = asha.Asha('loss', largest=True, least=10)
  assert halving.lags('a', rows(1.0), 90) is None
  assert halving.lags('b', rows(0.5), 90) == (10, 0.5)
  assert halving.lags('c', rows(float('nan')), 90) is not None
  assert halving.lags('d', rows(2.0), 90) is None
  halving = asha.Asha('loss', least=10)
  halving.lags('a', rows(float('inf')), 90)
  assert halving.lags('b', rows(9.0), 90) is None


def test_rows_without_the_metric_say_nothing():
  halving = asha.Asha('loss', least=10)
  assert halving.lags('a', [{'step': 50, 'other': 1.0}], 90) is None
  assert halving.lags('a', rows(1.0), 90) is None


def test_a_misspelt_metric_is_said():
  halving = asha.Asha('eval/line/los')
  run = [{'step': 50, 'train/loss': 1.0}, {'step': 50, 'eval/line/loss': 2.0}]
  with pytest.raises(UserError, match="Did you mean 'eval/line/loss'?"):
    halving.check(run)
  asha.Asha('eval/line/loss').check(run)


@pytest.mark.slow
def test_a_sweep_with_it_and_without_it_again(tmp_path):
  folder = tmp_path / 'dir'
  # The greatest loss is wanted, so that the slow rate, which is first, leads.
  argv = ['tests/toy.py', f'--workdir={folder}', '--seeds=1']
  argv += ['--config.num_steps=60000', '--config.log_every_steps=30']
  argv += ['--config.evaluators.line.every_steps=30']
  argv += ['--config.checkpoint.every_steps=20000']
  argv += ['--config.optimizer.schedule=constant']
  halving = ['--asha=eval/line/loss', '--asha_mode=max', '--asha_least=100']
  status, err = sweep(tmp_path / 'log', *argv, *halving)
  assert status == 0, err
  assert '1 of 2 points are done, 1 stopped early' in err
  fast = folder / 'learning_rate=0.3,seed=0'
  note = json.loads((fast / asha.NAME).read_text())
  assert note['metric'] == 'eval/line/loss' and note['step'] >= 111
  step = tiny.metrics(fast)[-1]['step']
  assert step < 60000
  status, err = sweep(tmp_path / 'log', *argv, *halving)  # it stays so
  assert status == 0 and tiny.metrics(fast)[-1]['step'] == step
  status, err = sweep(tmp_path / 'log', *argv)  # now it ends
  assert '2 of 2 points are done' in err
  assert tiny.metrics(fast)[-1]['step'] == 60000
  assert not (fast / asha.NAME).exists()
