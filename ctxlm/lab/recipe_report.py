"""The report on a recipe's sweep: its points, the best first, and pictures."""

import math
import shlex

import numpy as np

from ctxlm.lab import (
  page,
  plots,
  provenance,
  ranking,
  recipe,
  report,
  tables,
)
from ctxlm.lab import results as results_lib
from ctxlm.lab.experiment import Plot, Series
from ctxlm.lab.space import is_number
from ctxlm.lab.verdicts import interval

CURVES = 5  # points whose learning curves have a colour
MOST = 8  # metrics in the table; results.csv has all


def write_report(plan, workdir):
  """Writes report.md, report.html, pictures, results.csv and results.json.

  Args:
    plan: what sweep.json says, of a recipe.
    workdir: pathlib.Path.

  Returns:
    Lines that name the best points.
  """
  results = results_lib.read(workdir, plan)
  metric = ranking.Metric(plan['metric'], plan['mode'] == 'max')
  standings = ranking.rank(results, metric)
  said = ranking.summary(standings, metric)
  longer = recipe.longer(plan, workdir, standings)
  drawn = [
    report.picture(plot, plots.make(plot), workdir)
    for plot in pictures(standings, metric, plan['over'])
  ]
  again = ['ctxlm', 'report', plan['experiment'], f'--workdir={workdir}']
  commands = [*recipe.sweep_commands(plan, workdir), again]
  page.write(
    workdir,
    f'{plan["experiment"]}: over {", ".join(plan["over"])}',
    [
      page.Text(provenance.words(plan, results)),
      page.Heading('Best'),
      page.Text('\n'.join(said), code=True),
      *(
        [page.Text('To train it longer:'), page.Text(shlex.join(longer), True)]
        if longer
        else []
      ),
      page.Heading('Points'),
      points_table(standings, metric),
      page.Heading('Plots'),
      *drawn,
      *report.made_by(commands, plan, results, workdir),
    ],
  )
  ranked = [s for s in standings if s.ranked]
  found = {
    'metric': metric.name,
    'mode': metric.mode,
    'ranking': [
      {'overrides': s.overrides, 'mean': s.mean, 'values': s.values}
      | {'interval': s.half if math.isfinite(s.half) else None}
      for s in ranked
    ],
  }
  report.write_results(plan, results, workdir, found)
  return said + (
    [f'to train it longer:\n  {shlex.join(longer)}'] if longer else []
  )


def points_table(standings, metric):
  """Returns a row a point, the best first, with means over its seeds.

  In brackets are those of points of which no seed is done.
  """
  points = [p for s in standings for p in s.points]
  others = tables.natural(
    {m for p in points for row in p.rows for m in row if m[:5] == 'eval/'}
    - {metric.name}
  )
  metrics = [metric.name, *(others if len(others) < MOST else [])]
  keys = list(standings[0].overrides)
  rows = []
  for standing in standings:
    row = [standing.overrides[key] for key in keys]
    done = [p for p in standing.points if p.done]
    for name in metrics:
      ends = last(done or standing.points, name)
      shown = tables.show(*interval(ends)) if ends else ''
      row.append(shown if done or not ends else f'({shown})')
    rows.append([*row, standing.state])
  names = [name.removeprefix('eval/') for name in metrics]
  return page.Table([*keys, *names, 'seeds'], rows)


def last(points, name):
  """Returns the newest values of a metric of those points that have any."""
  values = [p.curve(name)[1] for p in points]
  return [float(v[-1]) for v in values if len(v)]


def pictures(standings, metric, over):
  """Returns [Plot]: the metric against each number, and over steps.

  Args:
    standings: of ranking.rank.
    metric: ranking.Metric.
    over: {key: text} of what was varied.
  """
  ranked = [s for s in standings if s.ranked]
  early = [s for s in standings if any(p.stopped for p in s.points)]
  keys = [
    key
    for key in over
    if ranked
    and len({str(s.overrides[key]) for s in ranked + early}) > 1
    and all(is_number(s.overrides[key]) for s in ranked + early)
  ]
  name = metric.name.removeprefix('eval/')
  drawn = [
    Plot(
      key.replace('.', '-'),
      f'{name} against {key.split(".")[-1]}',
      key,
      name,
      (series := against(key, ranked, early, metric.name)),
      log='x' * _is_log(over[key], [x for s in series for x in s.x])
      + 'y' * _is_wide([y for s in series for y in np.ravel(s.ys)]),
    )
    for key in keys
  ]
  for name in (metric.name, 'train/loss'):
    series = curves(standings, name)
    if any(len(s.x) > 1 for s in series):
      values = [y for s in series for y in np.ravel(s.ys)]
      drawn.append(
        Plot(
          f'steps-{name.replace("/", "-")}',
          f'{name} over steps',
          'step',
          name,
          series,
          log='y' * _is_wide(values),
        )
      )
  return drawn


def against(key, ranked, early, name):
  """Returns [Series] of the metric's values over those of a key.

  A line for each setting of the other keys, where there are few, as in a grid;
  else all points.

  Args:
    key: of numbers.
    ranked: [ranking.Standing], the best first.
    early: [ranking.Standing] of points that were stopped early.
    name: of the metric.
  """
  lines = {}
  for standing in ranked:
    others = {k: v for k, v in standing.overrides.items() if k != key}
    label = ranking.words(others)
    lines.setdefault(label, []).append(standing)
  few = len(lines) <= len(plots.COLOURS) - 1
  kind = 'line' if few and max(map(len, lines.values())) > 1 else 'points'
  if kind == 'points':
    lines = {'': ranked}
  series = []
  for label in sorted(lines, key=lambda label: _order(lines[label][0], key)):
    standings = sorted(lines[label], key=lambda s: s.overrides[key])
    seeds = max(len(s.values) for s in standings)
    ys = [s.values + [math.nan] * (seeds - len(s.values)) for s in standings]
    xs = [s.overrides[key] for s in standings]
    series.append(Series(label or 'points', xs, np.array(ys).T, kind))
  ends = [(s.overrides[key], last(s.points, name)) for s in early]
  if ends := [(x, np.mean(values)) for x, values in ends if values]:
    xs, ys = zip(*ends)
    series.append(Series('where stopped early', xs, [ys], 'points'))
  best = [[ranked[0].mean]]
  return [*series, Series('best', [ranked[0].overrides[key]], best, 'star')]


def _order(standing, key):
  # Of lines: by the values of the other keys, numbers before what is none.
  return [
    (not is_number(v), v if is_number(v) else 0, str(v))
    for k, v in standing.overrides.items()
    if k != key
  ]


def curves(standings, name):
  """Returns [Series] of a metric over steps, the best in colours."""
  series, others = [], []
  for i, standing in enumerate(standings):
    faint = i >= CURVES or not standing.ranked
    curve = results_lib.Results(standing.points).series(standing.name, name)
    if not len(curve.x):
      continue
    if faint:
      label = '' if others else 'others'
      others.append(Series(label, curve.x, curve.ys, 'faint'))
    else:
      series.append(curve)
  return series + others


def _is_log(text, values):
  # As it was drawn; of a list, whether its steps are more even so.
  if text.startswith(('log:', 'uniform:')):
    return text.startswith('log:')
  values = np.unique(np.array(values, float))
  if values[0] <= 0:
    return False
  if len(values) < 3:
    return bool(values[-1] / values[0] >= 10)
  linear, log = np.diff(values), np.diff(np.log(values))
  return bool(log.max() / log.min() < linear.max() / linear.min())


def _is_wide(values):
  values = np.array([v for v in values if math.isfinite(v)])
  return bool(
    len(values) and values.min() > 0 and values.max() > 10 * values.min()
  )
