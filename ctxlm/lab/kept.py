"""Verdicts that are kept beside the experiments, and the README's rows of them.

`ctxlm report --keep` copies results.json to results/NAME.json of the
experiments' folder, and writes the rows of its README.md anew.
"""

import json
from pathlib import Path

from ctxlm import files, recipes
from ctxlm.errors import UserError
from ctxlm.lab import experiment, page, provenance, tables

FOLDER = recipes.HOME / 'experiments'
BEGIN = '<!-- These rows are written by `ctxlm report --keep`. -->\n'
END = '<!-- The end of these rows. -->\n'
NONE = 'no results yet of seeds that nothing was tuned on'
OLD = 'not judged: run under another criterion'


def keep(module, workdir, folder=FOLDER):
  """Keeps a sweep's results.json, and writes the README's rows.

  Of a setting that is a path of this machine its last two parts are kept.

  Args:
    module: the experiment.
    workdir: pathlib.Path of its sweep, with a report.
    folder: pathlib.Path of the experiments.

  Raises:
    UserError: the experiment is none of the folder's, or of another scale.
  """
  path = Path(module.__file__)
  if path.resolve().parent != folder.resolve():
    raise UserError(f'--keep: {path} is none of {folder.resolve()}')
  kept = files.read_json(workdir / 'results.json')
  if kept['scale'] != 'small':
    raise UserError(
      f'--keep: {workdir} is of scale {kept["scale"]}, not of small'
    )
  kept['settings'] = {k: _elsewhere(v) for k, v in kept['settings'].items()}
  results = folder / 'results'
  results.mkdir(exist_ok=True)
  files.write_text(
    results / f'{path.stem}.json', json.dumps(kept, indent=1) + '\n'
  )
  readme = folder / 'README.md'
  files.write_text(readme, with_rows(readme.read_text('utf-8'), folder))


def _elsewhere(value):
  path = Path(value) if isinstance(value, str) else Path()
  return '/'.join(path.parts[1:][-2:]) if path.is_absolute() else value


def with_rows(text, folder=FOLDER):
  """Returns a README's text with its rows as they are to be."""
  before, _, rest = text.partition(BEGIN)
  _, _, after = rest.partition(END)
  return f'{before}{BEGIN}\n{table(folder).markdown()}\n{END}{after}'


def table(folder=FOLDER):
  """Returns the page.Table of all claims of a folder's experiments."""
  rows = []
  for path in sorted(folder.glob('*.py')):
    if b'\ndef sweep(' not in path.read_bytes():
      continue
    name, kept = f'`experiments/{path.name}`', {}
    if (results := folder / 'results' / f'{path.stem}.json').exists():
      kept = files.read_json(results)
    found = {row['claim']: row for row in kept.get('claims', [])}
    for claim in experiment.listed(experiment.load(path), 'criteria'):
      row = found.get(claim.claim)
      came, seeds, told = NONE, '', ''
      if row:
        same = row['criterion'] == claim.criterion
        came = tables.verdict(row) if same else OLD
        own = (f'--config.{k}={v}' for k, v in kept['settings'].items())
        seeds = '\n'.join([provenance.listed(row['seeds']), *own])
        told = '\n'.join(tables.figures(row, ('wanted',)))
      rows.append([name, seeds, claim.claim, told, came])
      name = ''
  return page.Table(
    ['experiment', 'seeds', 'claim', tables.FIGURES, 'verdict'], rows
  )
