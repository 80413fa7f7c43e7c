"""Reports: verdicts on an experiment's claims, tables and plots.

`write_report` writes report.md, results.csv, results.json and PNG plots into a
sweep's folder, also of a sweep that is half done; `compare` draws the curves of
any runs over one another.
"""

import csv
import io
import json
import math
import os
import re
from pathlib import Path

from ctxlm.errors import UserError
from ctxlm.files import write_text
from ctxlm.lab import experiment, plots


def read_results(workdir, plan):
  """Returns the Results of a sweep's folder and its sweep.json."""
  return experiment.Results(
    [
      experiment.Point(
        name,
        point['overrides'],
        point['num_steps'],
        experiment.read_rows(workdir / name),
        experiment.is_done(workdir / name, point['num_steps']),
      )
      for name, point in plan['points'].items()
    ]
  )


def judge(claims, results):
  """Returns a row a claim: texts, values over seeds, and the verdict."""
  rows = []
  for claim in claims:
    row = {
      'claim': claim.claim,
      'source': claim.source,
      'paper': claim.paper,
      'criterion': claim.criterion,
      'verdict': 'unfinished',
      'ours': {},
    }
    try:
      finding = claim.check(results)
    except experiment.Unfinished:
      pass
    else:
      row['verdict'] = finding.verdict
      for name, values in finding.ours.items():
        values = [float(v) for v in values]
        mean, half = experiment.interval(values)
        row['ours'][name] = {
          'mean': mean,
          'interval': half if math.isfinite(half) else None,
          'values': values,
        }
    rows.append(row)
  return rows


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


def claims_table(rows):
  """Returns the table of claims."""
  return table(
    ['claim', 'paper', 'ours (mean ± 95 % interval over seeds)', 'verdict'],
    [
      [
        f'{row["claim"]} ({row["source"]})',
        row['paper'],
        '<br>'.join(
          f'{name}: {show(v["mean"], v["interval"])}'
          for name, v in row['ours'].items()
        ),
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
  groups = {}
  for p in results.points:
    own = {k: v for k, v in p.overrides.items() if k != 'seed'}
    groups.setdefault(json.dumps(own), []).append(p)
  names = [
    re.sub(r',?seed=\d+', '', points[0].name).replace(',', ' ') or 'all'
    for points in groups.values()
  ]
  metrics = natural(
    {m for p in results.points for r in p.rows for m in r if m[:5] == 'eval/'}
  )
  rows = [
    ['steps', *(points[0].num_steps for points in groups.values())],
    [
      'seeds done',
      *(f'{sum(p.done for p in g)} of {len(g)}' for g in groups.values()),
    ],
  ]
  for metric in metrics:
    row = [metric.split('/', 2)[-1]]
    for points in groups.values():
      last = [p.curve(metric)[1] for p in points]
      last = [values[-1] for values in last if len(values)]
      row.append(show(*experiment.interval(last)) if last else '')
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


def write_report(path, module, plan, workdir):
  """Writes the report of a sweep; returns the claims' rows."""
  results = read_results(workdir, plan)
  rows = judge(module.criteria(), results)
  if plan['scale'] == 'smoke':  # a few steps, to see that all parts run
    rows = [row | {'verdict': 'not judged'} for row in rows]
  plots_ = module.report(results)
  for plot in plots_:
    plots.draw(plot, workdir / f'{plot.name}.png')
  done = sum(p.done for p in results.points)
  title = module.__doc__.strip().splitlines()[0]
  settings = ''.join(f' --config.{k}={v}' for k, v in plan['settings'].items())
  text = [
    f'# {title}\n',
    f'{done} of {len(results.points)} points are done, at scale '
    f'{plan["scale"]}. Made by\n\n'
    f'    ctxlm sweep {path} --workdir {workdir} --scale={plan["scale"]} '
    f'--seeds={1 + max(p.overrides["seed"] for p in results.points)}{settings}'
    f'\n    ctxlm report {path} --workdir {workdir}\n',
    '## Claims\n',
    claims_table(rows),
    '## Plots\n',
    *(f'![{p.title}]({p.name}.png)\n' for p in plots_),
    '## Last evaluation of every point\n',
    seeds_table(results),
  ]
  write_text(workdir / 'report.md', '\n'.join(text))
  write_text(workdir / 'results.csv', points_csv(results))
  summary = {
    'experiment': plan['experiment'],
    'scale': plan['scale'],
    'settings': plan['settings'],
    'claims': rows,
    'points': {
      p.name: {
        'overrides': p.overrides,
        'num_steps': p.num_steps,
        'done': p.done,
        'last': {m: v for row in p.rows for m, v in row.items()},
      }
      for p in results.points
    },
  }
  text = json.dumps(finite(summary), indent=1) + '\n'
  write_text(workdir / 'results.json', text)
  return rows


def compare(folders, out):
  """Draws every metric that two or more runs have, all runs over one another.

  Returns:
    {metric: path of the picture}.

  Raises:
    UserError: a folder is no run, or they have nothing in common.
  """
  runs = {}
  for folder in map(Path, folders):
    rows = experiment.read_rows(folder)
    if not rows:
      raise UserError(f'{folder} is no run folder: it has no metrics.jsonl')
    runs[folder] = experiment.Point(str(folder), {}, 0, rows, True)
  # In a legend there is room for what tells the runs apart.
  shared = os.path.commonpath([f.resolve().parent for f in runs])
  runs = {os.path.relpath(f.resolve(), shared): p for f, p in runs.items()}
  metrics = sorted({m for p in runs.values() for r in p.rows for m in r})
  drawn = {}
  for metric in metrics:
    curves = {name: p.curve(metric) for name, p in runs.items()}
    curves = {name: c for name, c in curves.items() if len(c[0])}
    if metric == 'step' or len(curves) < 2:
      continue
    name = metric.replace('/', '-')
    plot = experiment.Plot(
      name,
      metric,
      'step',
      metric.split('/')[-1],
      [experiment.Series(n, x, y[None]) for n, (x, y) in curves.items()],
    )
    out.mkdir(parents=True, exist_ok=True)
    drawn[metric] = out / f'{name}.png'
    plots.draw(plot, drawn[metric])
  if not drawn:
    raise UserError('--compare: the runs have no metric in common')
  width = max(map(len, drawn))
  for metric, picture in drawn.items():
    last = [
      f'{p.curve(metric)[1][-1]:.5g}' if len(p.curve(metric)[0]) else '-'
      for p in runs.values()
    ]
    print(f'{metric:<{width}}  {"  ".join(last)}  {picture}')
  return drawn
