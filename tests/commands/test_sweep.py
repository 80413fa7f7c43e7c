"""Sweeps: points, launchers, what is done and what goes on; reports."""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.lab import report
from tests import tiny

TESTS = tiny.ROOT / 'tests'


def start(verb, *argv, main=tiny.forks_points):
  """Starts `ctxlm VERB`; returns (process, file of its standard error)."""
  _, log = tempfile.mkstemp(dir=os.environ['CTXLM_CACHE'])
  argv = [sys.executable, '-m', 'ctxlm', verb, *map(str, argv)]
  return tiny.fork(argv, 1, log, haste=True, main=main), Path(log)


def ctxlm(verb, *argv):
  """Runs it; returns (exit status, standard output, standard error)."""
  process, log = start(verb, *argv)
  status = tiny.ended(process)
  return status, Path(f'{log}.out').read_text(), log.read_text()


@pytest.mark.slow
def test_a_wrong_key_is_one_line_before_anything_starts(tmp_path):
  path = tmp_path / 'wrong.py'
  text = (TESTS / 'toy.py').read_text()
  path.write_text(
    text.replace("'optimizer.learning_rate': (", "'optimizer.rate': (")
  )
  status, out, err = ctxlm('sweep', path, '--workdir', tmp_path / 'dir')
  assert status == 2 and not out and err.count('\n') == 1
  assert err.startswith('ctxlm sweep: wrong.py: sweep() sets ')
  assert not (tmp_path / 'dir').exists()


@pytest.mark.parametrize(
  'argv, wanted',
  [
    (['none.py', '--workdir=d'], 'none.py: no such recipe or experiment'),
    (['README.md', '--workdir=d'], "'README.md' is no recipe"),
    (['tests/tiny.py', '--workdir=d'], 'it has no sweep()'),
    (['tests/toy.py', '--workdir=README.md'], 'README.md is a file'),
    (
      ['tests/toy.py', '--workdir=d', '--config.optimizer.learning_rate=1.0'],
      'so --config.optimizer.learning_rate would not count',
    ),
    (['tests/toy.py', '--workdir=d', '--config.seed=7'], 'use --seeds'),
    (['tests/toy.py'], '--workdir DIR is needed'),
    (['--workdir=d'], 'usage: ctxlm sweep'),
    (
      ['tests/toy.py', '--workdir=d', '--jops=2'],
      "there is no --jops. Did you mean '--jobs'?",
    ),
    (['tests/toy.py', '--workdir=d', '--scale=huge'], 'huge'),
    (
      ['tests/toy.py', '--workdir=d', '--config.num_stepz=2'],
      "Did you mean 'num_steps'?",
    ),
  ],
)
@pytest.mark.slow
def test_mistakes(argv, wanted):
  status, _, err = ctxlm('sweep', *argv)
  assert status == 2 and wanted in err and err.count('\n') == 1
  assert not (tiny.ROOT / 'd').exists()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A sweep that nobody disturbed, and its report."""
  folder = tmp_path_factory.mktemp('whole') / 'dir'
  status, _, err = ctxlm(
    'sweep', 'tests/toy.py', '--workdir', folder, '--seeds=2', '--jobs=2'
  )
  assert status == 0, err
  assert '4 of 4 points are done' in err and err.count('done    ') == 4
  status, out, err = ctxlm('report', 'tests/toy.py', '--workdir', folder)
  assert status == 0, err
  return folder, out


@pytest.mark.slow
def test_report(whole):
  folder, out = whole
  assert out.startswith('not judged: 2 of 5 seeds')
  text = (folder / 'report.md').read_text()
  assert '4 of 4 runs are done, at scale small, of seeds 0 to 1. ' in text
  assert '| **not judged: 2 of 5 seeds** | a larger rate' in text
  assert '--first_seed=0 --seeds=2' in text and '| in every seed |' in text
  assert 'a larger rate \\| is faster (folklore)' in text
  assert (folder / 'loss.png').stat().st_size > 10_000
  with (folder / 'results.csv').open() as f:
    rows = list(csv.DictReader(f))
  assert len(rows) == 4 and all(r['done'] == '1' for r in rows)
  summary = json.loads((folder / 'results.json').read_text())
  for row in rows:
    # The number is that of the run's own log.
    last = tiny.metrics(folder / row['point'])[-1]
    assert last['step'] == 60
    assert float(row['eval/line/loss']) == last['eval/line/loss']
  (claim,) = summary['claims']
  slow = [float(r['eval/line/loss']) for r in rows if '=0.1' in r['point']]
  own = {one['what']: one for one in claim['ours']}
  assert own['slow']['mean'] == pytest.approx(np.mean(slow))
  assert own['slow - fast']['said'] == 'at least 0.001: 2 of 2 seeds'
  assert claim['seeds'] == [0, 1]


@pytest.mark.slow
def test_what_is_done_is_skipped_and_more_seeds_are_added(whole, tmp_path):
  folder, _ = whole
  before = {p: p.stat().st_mtime for p in folder.glob('*/metrics.jsonl')}
  argv = ['tests/toy.py', '--workdir', folder]
  status, _, err = ctxlm('sweep', *argv, '--seeds=2')
  assert status == 0 and 'done    ' not in err
  assert '4 of 4 points are done' in err
  folder = tmp_path / 'more'
  shutil.copytree(whole[0], folder)
  argv[-1] = folder
  status, _, err = ctxlm('sweep', *argv, '--seeds=3', '--jobs=2')
  assert status == 0 and err.count('done    ') == 2
  assert '6 of 6 points are done' in err
  # Those of fewer seeds stay in the report.
  assert ctxlm('sweep', *argv, '--seeds=1')[0] == 0
  assert len(json.loads((folder / 'sweep.json').read_text())['points']) == 6
  assert before == {p: p.stat().st_mtime for p in before}
  folder = whole[0]
  status, _, err = ctxlm(
    'sweep', 'tests/toy.py', '--workdir', folder, '--scale=smoke'
  )
  assert status == 2 and "scale 'small', not 'smoke'" in err
  (tmp_path / 'thesis.tex').write_text('years of work')
  status, _, err = ctxlm('sweep', 'tests/toy.py', '--workdir', tmp_path)
  assert status == 2 and 'holds other files' in err


@pytest.mark.slow
def test_sigkill_at_three_moments(whole, tmp_path):
  rng = np.random.default_rng(0)
  folder = tmp_path / 'dir'
  argv = ['tests/toy.py', '--workdir', folder, '--seeds=2', '--jobs=2']
  argv.append('--config.num_steps=60')
  for i in range(3):
    process, _ = start('sweep', *argv, main=cli.main)  # as it is for users
    lines = sum(map(tiny.logged, folder.glob('*=*')))

    def more():
      return sum(map(tiny.logged, folder.glob('*=*'))) > lines + 3 * i  # noqa: B023

    assert tiny.wait_until(more, process)
    time.sleep(rng.uniform(0, 0.5))
    assert process.is_alive()
    process.kill()
    tiny.ended(process)
  # A report of what there is, half way.
  status, out, err = ctxlm('report', 'tests/toy.py', '--workdir', folder)
  assert status == 0 and out.startswith('unfinished'), err
  status, _, err = ctxlm('sweep', *argv)
  assert status == 0, err
  logs = [log.read_text() for log in (folder / 'logs').iterdir()]
  assert any('going on from step' in log for log in logs)
  assert ctxlm('report', 'tests/toy.py', '--workdir', folder)[0] == 0
  assert (folder / 'results.csv').read_text() == (
    whole[0] / 'results.csv'
  ).read_text()


@pytest.mark.slow
def test_a_failed_point_is_reported_and_stops_no_other(tmp_path):
  path = tmp_path / 'failing.py'
  text = (TESTS / 'toy.py').read_text()
  sweep_ = "experiment.product({'optimizer.learning_rate': (0.1, 0.3)})"
  breaks = "experiment.product({'tasks.line.objective.breaks': (4, 1000000)})"
  path.write_text(text.replace(sweep_, breaks))
  folder = tmp_path / 'dir'
  status, _, err = ctxlm(
    'sweep', path, '--workdir', folder, '--scale=smoke', '--seeds=1'
  )
  assert status == 1
  # Steps are many a call, yet the first one that isn't finite is named.
  assert (
    'FAILED  breaks=4,seed=0: ' in err and 'at step 5 are not finite' in err
  )
  assert 'done    breaks=1000000,seed=0' in err
  assert '1 of 2 points are done; 1 failed' in err


@pytest.mark.slow
def test_print_gives_a_command_a_point(tmp_path):
  folder = tmp_path / 'dir'
  argv = ['tests/toy.py', f'--workdir={folder}', '--launcher=print']
  argv += ['--scale=smoke', '--seeds=1']
  status, out, _ = ctxlm('sweep', *argv)
  lines = out.splitlines()
  assert status == 0 and len(lines) == 2
  assert lines[1] == (
    f'ctxlm train --config=tests/toy.py:smoke '
    f'--workdir={folder}/learning_rate=0.3,seed=0 '
    '--config.optimizer.learning_rate=0.3 --config.seed=0'
  )
  # As the README has Slurm run it; the sweep then finds it done.
  commands = tmp_path / 'commands'
  commands.write_text(
    out.replace('ctxlm train', f'{sys.executable} -m ctxlm train')
  )
  subprocess.run(
    f'sh -c "$(sed -n ${{SLURM_ARRAY_TASK_ID}}p {commands})"',
    shell=True,
    check=True,
    cwd=tiny.ROOT,
    env=tiny.environment(haste=True) | {'SLURM_ARRAY_TASK_ID': '2'},
  )
  assert ctxlm('sweep', *argv)[1].splitlines() == lines[:1]


@pytest.mark.slow
def test_compare_draws_what_runs_share(whole, tmp_path):
  runs = sorted(p.parent for p in whole[0].glob('*/metrics.jsonl'))[:2]
  out = tmp_path / 'out'
  drawn = report.compare(runs, out)
  assert set(drawn) >= {'train/loss', 'eval/line/loss'}
  assert all(p.stat().st_size > 5_000 for p in drawn.values())
  with pytest.raises(UserError, match='is no run folder'):
    report.compare([runs[0], tmp_path], out)


@pytest.mark.slow
def test_another_sweep_of_the_folder_is_refused(tmp_path):
  folder = tmp_path / 'dir'
  argv = ['tests/toy.py', '--workdir', folder, '--seeds=1']
  argv.append('--config.num_steps=1000000')
  process, _ = start('sweep', *argv, main=cli.main)
  assert tiny.wait_until(
    lambda: any(map(tiny.logged, folder.glob('*=*'))), process
  )
  status, _, err = ctxlm('sweep', *argv)
  assert status == 2 and ' sweeps there; wait' in err
  # A sweep that is asked to stop has its points save.
  process.terminate()
  tiny.ended(process)
  log = next((folder / 'logs').iterdir()).read_text()
  assert 'run the same command again to go on' in log
  assert os.listdir(folder / 'learning_rate=0.1,seed=0' / 'checkpoints')


@pytest.mark.slow
def test_a_recipe_is_swept_and_its_best_point_said(tmp_path):
  folder = tmp_path / 'dir'
  argv = ['tests/toy.py', '--workdir', folder, '--jobs=2', '--seeds=1']
  argv += ['--over=optimizer.learning_rate=0.1,1e30,0.3']
  # A metric that there is not is said before anything is trained.
  status, out, err = ctxlm('sweep', *argv, '--metric=line/los')
  assert status == 2 and not out, err
  assert err.splitlines()[-1] == (
    'ctxlm sweep: --metric eval/line/los: no evaluator gives it. Did you mean '
    "'eval/line/loss'?"
  )
  assert not list(folder.glob('*/checkpoints')) and 'FAILED' not in err
  # One point diverges, and the others are trained.
  status, out, err = ctxlm('sweep', *argv)
  assert status == 1 and '2 of 3 points are done; 1 failed' in err
  last = {
    rate: tiny.metrics(folder / f'learning_rate={rate},seed=0')[-1]
    for rate in (0.1, 0.3)
  }
  assert last[0.3]['eval/line/loss'] < last[0.1]['eval/line/loss']
  lines = out.splitlines()
  assert lines[0].startswith('best of 2 points by eval/line/loss, the least')
  assert lines[1].split() == [
    f'{last[0.3]["eval/line/loss"]:.4g}',
    'learning_rate=0.3',
  ]
  status, out, err = ctxlm('report', 'tests/toy.py', '--workdir', folder)
  assert status == 0 and out.splitlines()[0] == lines[0], err
  assert '| 1e+30 |  | 1 of 1 failed |' in (folder / 'report.md').read_text()
  # The command that it says trains the best point, in a folder of its own.
  words = shlex.split(lines[-1])
  words[-1] = '--config.num_steps=66'
  status, _, err = ctxlm(*words[1:])
  assert status == 0, err
  config = json.loads((folder / 'best' / 'config.json').read_text())
  assert config['optimizer']['learning_rate'] == 0.3
  assert config['num_steps'] == 66
