"""Tables of a report: claims, points, and means over seeds."""

import csv
import io
import math
import re

from ctxlm.lab.verdicts import interval


def show(mean, half):
  """Returns '0.899 ± 0.004', with as many digits as the interval allows."""
  if half is None or not math.isfinite(half) or half <= 1e-9 * abs(mean):
    return f'{mean:.4g}'
  digits = min(max(1 - math.floor(math.log10(half)), 0), 6)
  return f'{mean:.{digits}f} ± {half:.{digits}f}'


def table(header, rows):
  """Returns a Markdown table."""
  lines = [header, ['---'] * len(header), *rows]
  return ''.join(
    '| ' + ' | '.join(str(c).replace('|', '\\|') for c in line) + ' |\n'
    for line in lines
  )


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


def figures(row):
  """Returns a claim's figures as text, a line each: wanted ones first."""
  return [
    f'{BEFORE.get(one.get("part"), "")}{one["what"]}: '
    f'{show(one["mean"], one["interval"])}'
    + (f' ({one["said"]})' if 'said' in one else '')
    for one in row['ours']
  ]


def claims_table(rows):
  """Returns the table of claims."""
  return table(
    ['claim', 'paper', 'ours (mean ± 95 % interval over seeds)', 'verdict'],
    [
      [
        f'{row["claim"]} ({row["source"]})',
        row['paper'],
        '<br>'.join(figures(row)),
        f'**{row["verdict"]}**<br>criterion: {row["criterion"]}',
      ]
      for row in rows
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
  return table(['', *names], rows)


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
