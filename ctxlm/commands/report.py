"""Judge an experiment, rank a recipe's points, or compare runs.

The page of a sweep, DIR/report.html, needs no other file. It is made anew each
time, also while the sweep still trains.

  ctxlm report experiments/induction.py --workdir sweeps/induction
  ctxlm report experiments/induction.py --workdir sweeps/induction --keep
  ctxlm report --compare runs/a runs/b --out compared
  ctxlm report configs/quickstart_causal.py --workdir sweeps/rates
"""

from pathlib import Path

from ctxlm import recipes
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm report`."""
  parser.add_paths(
    'NAME', 'the experiment or recipe, or runs to compare', recipes.ours
  )
  parser.add(
    'what is read', '--workdir', metavar='DIR', help="the sweep's folder"
  )
  parser.add(
    'what is read',
    '--compare',
    action='store_true',
    help='draw the curves of the runs over one another',
  )
  parser.add(
    'what is written',
    '--out',
    metavar='DIR',
    default='compare',
    help='folder of the comparison',
  )
  parser.add(
    'what is written',
    '--keep',
    action='store_true',
    help="keep the verdicts beside ctxlm's experiments, and in their README",
  )


def main(F):
  """Entry point of `ctxlm report`."""
  from ctxlm.lab import experiment, kept, points, recipe_report
  from ctxlm.lab.report import compare, write_report
  from ctxlm.lab.tables import figures, verdict

  if F.compare:
    if len(F.paths) < 2:
      raise UserError('usage: ctxlm report --compare RUN RUN ...')
    compare(F.paths, Path(F.out))
    return
  if len(F.paths) != 1:
    raise UserError('usage: ctxlm report EXPERIMENT.py --workdir DIR')
  if F.workdir is None:
    raise UserError("--workdir DIR is needed: the sweep's folder")
  workdir = Path(F.workdir)
  plan = points.read(workdir)
  if plan is None:
    raise UserError(f'{workdir} holds no sweep: it has no sweep.json')
  (given, _), (swept, _) = map(points.file_of, (F.paths[0], plan['experiment']))
  if given.stem != swept.stem:
    raise UserError(f'{workdir} is a sweep of {plan["experiment"]}')
  if 'over' in plan:
    print('\n'.join(recipe_report.write_report(plan, workdir)))
    print(workdir / 'report.html')
    return
  module = experiment.load(F.paths[0])
  for row in write_report(F.paths[0], module, plan, workdir):
    print(f'{verdict(row):<24}{row["claim"]}')
    for line in figures(row):
      print(f'{"":<24}{line}')
    print(f'{"":<24}criterion: {row["criterion"]}')
  if F.keep:
    kept.keep(module, workdir)
  print(workdir / 'report.html')
