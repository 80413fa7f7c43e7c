"""Reports: verdicts on an experiment's claims, tables and plots.

`write_report` writes report.md, report.html, results.csv, results.json and
plots (PNG, PDF) into a sweep's folder, also of a sweep that is half done;
`compare` draws the curves of any runs over one another.
"""

import json
import math
import os
import shlex
from pathlib import Path

from ctxlm import recipes
from ctxlm.errors import UserError
from ctxlm.files import write_text
from ctxlm.lab import experiment, page, plots, provenance, tables, verdicts
from ctxlm.lab import results as results_lib
from ctxlm.training import run_folder

NONE = 'not judged: no seeds but those of tuning'


def judge(claims, results, seeds):
  """Returns a row a claim: texts, figures over seeds, bounds and the verdict.

  Args:
    claims: [experiment.Claim].
    results: results.Results.
    seeds: verdicts.Seeds, see there which count.
  """
  rows, results = [], results.confirming(seeds)
  own = results.seeds
  for claim in claims:
    row = {
      'claim': claim.claim,
      'source': claim.source,
      'paper': claim.paper,
      'criterion': claim.criterion,
      'verdict': verdicts.UNFINISHED if own else NONE,
      'seeds': own,
      'ours': [],
    }
    rows.append(row)
    if not own:
      continue
    try:
      finding = claim.check(results)
    except experiment.Unfinished:
      continue
    if not isinstance(finding, verdicts.Finding):
      raise UserError(f'the check of {claim.claim!r} returns no Finding')
    row['verdict'] = finding.verdict(len(own), seeds.least)
    row['ours'] = [
      _figure(one.what, one.values)
      | {'part': part, 'said': one.said, 'holds': one.holds}
      for part, one in finding.bounds
    ] + [_figure(what, values) for what, values in finding.beside.items()]
  return rows


def _figure(what, values):
  values = [float(v) for v in values]
  mean, half = verdicts.interval(values)
  half = half if math.isfinite(half) else None
  return {'what': what, 'mean': mean, 'interval': half, 'values': values}


def write_report(path, module, plan, workdir):
  """Writes the report of a sweep; returns the claims' rows."""
  results, code = results_lib.read(workdir, plan), Path(module.__file__)
  claims = experiment.listed(module, 'criteria')
  rows = recipes.run(judge, code, claims, results, module.SEEDS)
  if plan['scale'] == 'smoke':  # a few steps, to see that all parts run
    rows = [row | {'verdict': 'not judged: smoke'} for row in rows]
  pictures = []
  for plot in experiment.listed(module, 'report', results):
    figure = recipes.run(plots.make, code, plot)
    pictures.append(picture(plot, figure, workdir))
  title = (module.__doc__ or code.stem).strip().splitlines()[0]
  settings = [f'--config.{k}={v}' for k, v in plan['settings'].items()]
  begin = ['ctxlm', 'sweep', str(path), f'--workdir={workdir}']
  begin.append(f'--scale={plan["scale"]}')
  commands = [
    *([*begin, *seeds, *settings] for seeds in provenance.seed_flags(plan)),
    ['ctxlm', 'report', str(path), f'--workdir={workdir}'],
  ]
  page.write(
    workdir,
    title,
    [
      page.Text(provenance.words(plan, results, module.SEEDS)),
      page.Heading('Claims'),
      tables.claims_table(rows),
      page.Heading('Plots'),
      *pictures,
      page.Heading('Last evaluation of every point'),
      tables.seeds_table(results),
      *made_by(commands, plan, results, workdir),
    ],
  )
  write_results(plan, results, workdir, {'claims': rows})
  return rows


def picture(plot, figure, folder):
  """Returns the page.Picture of a Plot, whose figure is written."""
  path = folder / f'{plot.name}.png'
  plots.save(figure, path)
  return page.Picture(plot.title, path, tables.plot_table(plot))


def made_by(commands, plan, results, workdir):
  """Returns a page's last parts: commands, the config, and the runs.

  Args:
    commands: [argv].
    plan: what sweep.json says.
    results: results.Results.
    workdir: pathlib.Path of the sweep.
  """
  parts = [page.Heading('Made by')]
  parts.append(page.Text('\n'.join(map(shlex.join, commands)), code=True))
  begun = [
    p.name
    for p in results.points
    if (workdir / p.name / 'config.json').is_file()
  ]
  for name in begun[:1]:
    config = (workdir / name / 'config.json').read_text('utf-8', 'replace')
    parts += [page.Heading(f'Config of {name}'), page.Text(config, code=True)]
  return [*parts, page.Heading('Runs'), tables.runs_table(results)]


def write_results(plan, results, workdir, found):
  """Writes results.csv and results.json.

  Args:
    plan: what sweep.json says.
    results: results.Results.
    workdir: pathlib.Path.
    found: {key: value} of results.json, beside what the sweep was.
  """
  write_text(workdir / 'results.csv', tables.points_csv(results))
  summary = {
    'experiment': plan['experiment'],
    'scale': plan['scale'],
    'settings': plan['settings'],
    'seeds': results.seeds,
    'recipe': provenance.recipe_hash(plan),
    'commits': plan['commits'],
    **found,
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
  text = json.dumps(tables.finite(summary), indent=1) + '\n'
  write_text(workdir / 'results.json', text)


def compare(folders, out):
  """Draws every metric that two or more runs have, all runs over one another.

  And prints the last value of each, with its step.

  Returns:
    {metric: path of the picture}.

  Raises:
    UserError: a folder is no run, or they have nothing in common.
  """
  runs = {}
  for folder in map(Path, folders):
    rows = results_lib.read_rows(folder)
    if not rows:
      raise UserError(f'{folder} is no run folder: it has no metrics.jsonl')
    runs[folder] = results_lib.Point(str(folder), {}, 0, rows, True)
  units = UNITS | ({'loss': 'nats'} if all(map(_in_nats, runs)) else {})
  # In a legend there is room for what tells the runs apart.
  shared = os.path.commonpath([f.resolve().parent for f in runs])
  runs = {os.path.relpath(f.resolve(), shared): p for f, p in runs.items()}
  if out.exists() and not out.is_dir():
    raise UserError(f'--out {out} is a file: name a folder')
  metrics = sorted({m for p in runs.values() for r in p.rows for m in r})
  drawn, table, parts = {}, [['last value', 'unit', *runs, 'picture']], []
  for metric in metrics:
    curves = {name: p.curve(metric) for name, p in runs.items()}
    there = {name: c for name, c in curves.items() if len(c[0])}
    if metric == 'step' or len(there) < 2:
      continue
    name, word = metric.replace('/', '-'), metric.split('/')[-1]
    unit = units.get(word, '')
    plot = experiment.Plot(
      name,
      metric,
      'step',
      f'{word}, {unit}' if unit else word,
      [experiment.Series(n, x, y[None]) for n, (x, y) in there.items()],
    )
    out.mkdir(parents=True, exist_ok=True)
    parts.append(picture(plot, plots.make(plot), out))
    drawn[metric] = parts[-1].path
    last = [
      f'{y[-1]:.5g} at step {x[-1]:.0f}' if len(x) else '-'
      for x, y in curves.values()
    ]
    table.append([metric, unit or '-', *last, drawn[metric]])
  if not drawn:
    raise UserError('--compare: the runs have no metric in common')
  print(tables.aligned(table))
  links = [
    page.Cell(name, to=os.path.relpath(Path(shared, name), out) + '/')
    for name in runs
  ]
  head, *rows = (row[:-1] for row in table)
  head = ['metric', 'unit', *(f'{name}, last value' for name in runs)]
  page.write(
    out,
    'Runs compared',
    [
      page.Table(head, rows),
      page.Heading('Plots'),
      *parts,
      page.Heading('Runs'),
      page.Table(['run'], [[link] for link in links]),
    ],
  )
  return drawn


NATS = {'causal', 'contrastive', 'mlm', 'seq2seq'}  # objectives' losses
# Of metrics, by the last word of their names.
UNITS = {
  'accuracy': 'share',
  'bits_per_byte': 'bits',
  'examples': 'count',
  'next_sentence_accuracy': 'share',
  'pairs': 'count',
  'retrieval_at_1': 'share',
  'sentence_order_accuracy': 'share',
  'tokens': 'count',
}


def _in_nats(folder):
  tasks = run_folder.read_config(folder)['tasks'].values()
  return {task['objective']['name'] for task in tasks} <= NATS
