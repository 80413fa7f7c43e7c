"""`ctxlm report EXPERIMENT.py --workdir DIR`: were the claims reproduced?

`ctxlm report --compare RUN RUN ... --out DIR` draws the curves of any runs
over one another.
"""

from pathlib import Path

from absl import flags

from ctxlm.errors import UserError
from ctxlm.lab import experiment, points
from ctxlm.lab.report import compare, write_report
from ctxlm.lab.tables import show


def define_flags():
  """Defines the flags of `ctxlm report`."""
  flags.DEFINE_string('workdir', None, "the sweep's folder")
  flags.DEFINE_bool('compare', False, 'draw the curves of the runs that follow')
  flags.DEFINE_string('out', 'compare', 'folder of the comparison')


def main(arguments):
  """Entry point of `ctxlm report`.

  Args:
    arguments: the experiment's path, or runs to compare.
  """
  F = flags.FLAGS
  paths, settings = points.parse(arguments)
  if settings:
    raise UserError('a report takes no --config: the sweep had it')
  if F.compare:
    if len(paths) < 2:
      raise UserError('usage: ctxlm report --compare RUN RUN ...')
    compare(paths, Path(F.out))
    return
  if len(paths) != 1:
    raise UserError('usage: ctxlm report EXPERIMENT.py --workdir DIR')
  if F.workdir is None:
    raise UserError("--workdir DIR is needed: the sweep's folder")
  module, workdir = experiment.load(paths[0]), Path(F.workdir)
  plan = points.read(workdir)
  if plan is None:
    raise UserError(f'{workdir} holds no sweep: it has no sweep.json')
  if Path(plan['experiment']).name != Path(paths[0]).name:
    raise UserError(f'{workdir} is a sweep of {plan["experiment"]}')
  for row in write_report(paths[0], module, plan, workdir):
    print(f'{row["verdict"]:<16}{row["claim"]}')
    for name, v in row['ours'].items():
      print(f'{"":<16}{name}: {show(v["mean"], v["interval"])}')
    print(f'{"":<16}criterion: {row["criterion"]}')
  print(workdir / 'report.md')
