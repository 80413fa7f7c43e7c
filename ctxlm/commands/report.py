"""Judge an experiment's claims, or compare runs.

The page of a sweep is made anew each time, also while it still trains.

  ctxlm report experiments/induction.py --workdir sweeps/induction
  ctxlm report --compare runs/a runs/b --out compared
  ctxlm report --compare sweeps/induction/seed=0 runs/b
"""

from pathlib import Path

from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm report`."""
  parser.add_paths('PATH', 'the experiment, or runs to compare')
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


def main(F):
  """Entry point of `ctxlm report`."""
  from ctxlm.lab import experiment, points
  from ctxlm.lab.report import compare, write_report
  from ctxlm.lab.tables import show

  if F.compare:
    if len(F.paths) < 2:
      raise UserError('usage: ctxlm report --compare RUN RUN ...')
    compare(F.paths, Path(F.out))
    return
  if len(F.paths) != 1:
    raise UserError('usage: ctxlm report EXPERIMENT.py --workdir DIR')
  if F.workdir is None:
    raise UserError("--workdir DIR is needed: the sweep's folder")
  module, workdir = experiment.load(F.paths[0]), Path(F.workdir)
  plan = points.read(workdir)
  if plan is None:
    raise UserError(f'{workdir} holds no sweep: it has no sweep.json')
  if Path(plan['experiment']).name != Path(F.paths[0]).name:
    raise UserError(f'{workdir} is a sweep of {plan["experiment"]}')
  for row in write_report(F.paths[0], module, plan, workdir):
    print(f'{row["verdict"]:<16}{row["claim"]}')
    for name, v in row['ours'].items():
      print(f'{"":<16}{name}: {show(v["mean"], v["interval"])}')
    print(f'{"":<16}criterion: {row["criterion"]}')
  print(workdir / 'report.md')
