"""What the experiments' tests share: a smoke run, and made-up results."""

import json
import subprocess
import sys

import tiny

from ctxlm import experiment, plots, report, sweep


def smoke(name, folder):
  """Sweeps and reports at the smallest scale; returns results.json."""
  for verb, flags in (
    ('sweep', ['--scale=smoke', '--seeds=1', '--jobs=2']),
    ('report', []),
  ):
    argv = [sys.executable, '-m', f'ctxlm.{verb}', f'experiments/{name}.py']
    argv += [f'--workdir={folder}', *flags]
    done = subprocess.run(
      argv,
      cwd=tiny.ROOT,
      env=tiny.environment(),
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr
  found = json.loads((folder / 'results.json').read_text())
  assert all(p['done'] for p in found['points'].values())
  return found


def results(module, rows_of, done=True):
  """Returns Results of the small sweep whose metrics are made up.

  Args:
    module: the experiment.
    rows_of: function of a point's overrides, by the keys' last words, that
      gives its rows of metrics.
    done: whether the points are.
  """
  points = []
  for name, overrides, config in sweep.points(module, 'small', 2, {}):
    own = {k.split('.')[-1]: v for k, v in overrides.items()}
    rows = rows_of(own)
    points.append(
      experiment.Point(name, overrides, config.num_steps, rows, done)
    )
  return experiment.Results(points)


def verdicts(module, rows_of, done=True):
  """Returns the claims' verdicts on made-up metrics."""
  rows = report.judge(module.criteria(), results(module, rows_of, done))
  return [row['verdict'] for row in rows]


def draw(module, rows_of, folder):
  """Draws the report's plots of made-up metrics."""
  found = module.report(results(module, rows_of))
  for plot in found:
    path = folder / f'{plot.name}.png'
    plots.draw(plot, path)
    assert path.stat().st_size > 10_000
  # Nothing has begun, and there is a report all the same.
  for plot in module.report(results(module, lambda own: [], done=False)):
    plots.draw(plot, folder / 'empty.png')
