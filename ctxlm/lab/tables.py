"""Tables of a report: claims, points, and means over seeds."""

import csv
import io
import math
import re

import numpy as np

from ctxlm.lab import page
from ctxlm.lab.verdicts import interval

FIGURES = 'ours (mean ± 95 % interval over seeds)'


def show(mean, half):
  """Returns '0.899 ± 0.004', with as many digits as the interval allows.

  A mean of None is no number, as in results.json.
  """
  mean = math.nan if mean is None else mean
  if half is None or not math.isfinite(half) or half <= 1e-9 * abs(mean):
    return f'{mean:.4g}'
  digits = min(max(1 - math.floor(math.log10(half)), 0), 6)
  return f'{mean:.{digits}f} ± {half:.{digits}f}'


def aligned(rows):
  """Returns a table as plain text, of columns as wide as their widest.

  >>> print(aligned([['metric', 'a'], ['loss', 0.5]]))
  metric  a
  loss    0.5
  """
  rows = [[str(cell) for cell in row] for row in rows]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return '\n'.join(
    '  '.join(map(str.ljust, row, widths)).rstrip() for row in rows
  )


BEFORE = {'learned': 'learned: ', 'sound': 'no leak: ', 'effect': 'effect: '}


def verdict(row):
  """Returns a claim's verdict as text, with n where there is one."""
  judged = row['ours'] and not row['verdict'].startswith('not judged')
  n = f' (n = {len(row["seeds"])})' if judged else ''
  return f'{row["verdict"]}{n}'


def figures(row, parts=None):
  """Returns a claim's figures as text, a line each: wanted ones first.

  Args:
    row: of report.judge, or as results.json has it.
    parts: those of verdicts.Finding; None is all.
  """
  return [
    BEFORE.get(one.get('part'), '')
    + f'{one["what"]}: {show(one["mean"], one["interval"])}'
    + (f' ({one["said"]})' if 'said' in one else '')
    for one in row['ours']
    if parts is None or one.get('part') in parts
  ]


def claims_table(rows):
  """Returns the page.Table of claims, their verdicts first."""
  return page.Table(
    ['verdict', 'claim', 'paper', FIGURES, 'criterion'],
    [
      [
        page.Cell(verdict(row), strong=True),
        f'{row["claim"]} ({row["source"]})',
        row['paper'],
        '\n'.join(figures(row)),
        row['criterion'],
      ]
      for row in rows
    ],
    told=True,
  )


def plot_table(plot):
  """Returns the page.Table of a Plot: means with intervals, and theory."""
  columns = {}
  for series in plot.series:
    own = columns.setdefault(series.label or 'values', {})
    for x, values in zip(series.x, np.transpose(series.ys)):
      values = np.array(values, float)
      if len(values := values[~np.isnan(values)]):
        own[float(x)] = show(*interval(values))
  xs = sorted({x for column in columns.values() for x in column})
  for line in plot.lines:
    if line.y is not None:
      at = (xs, [line.y] * len(xs)) if np.ndim(line.y) == 0 else line.y
      columns[line.label] = {float(x): f'{y:.4g}' for x, y in zip(*at)}
  xs = sorted({x for column in columns.values() for x in column})
  return page.Table(
    [plot.x, *columns],
    [[f'{x:g}', *(own.get(x, '') for own in columns.values())] for x in xs],
  )


def runs_table(results):
  """Returns the page.Table of run folders, each a link."""
  return page.Table(
    ['run', 'seed', 'step', 'of'],
    [
      [
        page.Cell(p.name, to=f'{p.name}/'),
        p.overrides['seed'],
        p.rows[-1]['step'] if p.rows else 0,
        p.num_steps,
      ]
      for p in sorted(results.points, key=lambda p: p.name)
    ],
  )


def points_csv(results):
  """Returns a row a point: overrides, steps done, last value of each metric."""
  keys = list(dict.fromkeys(k for p in results.points for k in p.overrides))
  metrics = sorted(
    {m for p in results.points for row in p.rows for m in row if m != 'step'}
  )
  out = io.StringIO()
  writer = csv.writer(out, lineterminator='\n')
  writer.writerow(['point', *keys, 'step', 'done', *metrics])
  for p in sorted(results.points, key=lambda p: p.name):
    step = p.rows[-1]['step'] if p.rows else 0
    last = {m: v for row in p.rows for m, v in row.items()}
    writer.writerow(
      [p.name, *(p.overrides.get(k, '') for k in keys), step, int(p.done)]
      + [repr(last[m]) if m in last else '' for m in metrics]
    )
  return out.getvalue()


def seeds_table(results):
  """Returns the table of points, with the evaluations' means over seeds.

  A column a point, a row a metric: some experiments have a metric a place.
  """
  groups = [group.points for group in results.groups()]
  names = [
    re.sub(r',?seed=\d+', '', points[0].name).replace(',', ' ') or 'all'
    for points in groups
  ]
  metrics = natural(
    {m for p in results.points for r in p.rows for m in r if m[:5] == 'eval/'}
  )
  rows = [
    ['steps', *(points[0].num_steps for points in groups)],
    [
      'seeds done',
      *(f'{sum(p.done for p in g)} of {len(g)}' for g in groups),
    ],
  ]
  for metric in metrics:
    row = [metric.split('/', 2)[-1]]
    for points in groups:
      last = [p.curve(metric)[1] for p in points]
      last = [values[-1] for values in last if len(values)]
      row.append(show(*interval(last)) if last else '')
    rows.append(row)
  return page.Table(['', *names], rows)


def natural(names):
  """Returns the names in order, their numbers by value."""

  def key(name):
    return [(int(w), '') if w.isdigit() else (0, w) for w in parts(name)]

  def parts(name):
    return re.split(r'(\d+)', name)

  return sorted(names, key=key)


def finite(value):
  """Returns what JSON can hold: None for what is no number."""
  if isinstance(value, dict):
    return {k: finite(v) for k, v in value.items()}
  if isinstance(value, list):
    return [finite(v) for v in value]
  return (
    None if isinstance(value, float) and not math.isfinite(value) else value
  )
