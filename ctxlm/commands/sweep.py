"""Train all points of an experiment, and go on from there.

Each point is an ordinary run folder DIR/POINT. The same command again skips
the points that are done and goes on with the others; `ctxlm report` may be
asked at any time.

  ctxlm sweep experiments/induction.py --workdir sweeps/induction --jobs=2
  ctxlm sweep experiments/mqar.py --workdir sweeps/mqar --scale=smoke
  ctxlm sweep experiments/mqar.py --workdir sweeps/long --config.num_steps=9000
"""

import contextlib
import shlex
from pathlib import Path
from typing import Annotated

from ctxlm import flags, lab, ranges
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm sweep`."""
  parser.add_paths('EXPERIMENT', 'experiments/NAME.py')
  parser.add_overrides()
  count = flags.number(ranges.Count)
  parser.add(
    'what is written',
    '--workdir',
    metavar='DIR',
    needed=True,
    help='the folder of the run folders',
  )
  use = 'which points'
  parser.add(
    use,
    '--scale',
    **flags.one_of(lab.SCALES),
    default='small',
    help='how large they are',
  )
  parser.add(
    use,
    '--seeds',
    metavar='N',
    type=count,
    default=3,
    help='seeds of every point',
  )
  use = 'where they run'
  parser.add(
    use, '--jobs', metavar='N', type=count, default=1, help='points at once'
  )
  parser.add(
    use,
    '--launcher',
    **flags.one_of(('local', 'ray', 'print')),
    default='local',
    help='here, on a cluster, or nowhere: the commands are printed',
  )
  parser.add(
    use,
    '--ray_address',
    metavar='ADDRESS',
    default='auto',
    help="the cluster's; see ray.init",
  )
  for what, number in (('cpus', 1.0), ('gpus', 0.0)):
    parser.add(
      use,
      f'--ray_{what}',
      metavar='X',
      type=flags.number(ranges.ZeroOrMore),
      default=number,
      help=f'{what[:-1].upper()}s that a point asks of the cluster',
    )
  parser.add(
    use,
    '--ray_resources',
    metavar='NAME=X',
    default='',
    help='others that a point asks of one host, such as TPU=4',
  )
  use = 'early stopping'
  parser.add(
    use,
    '--asha',
    metavar='METRIC',
    default='',
    help='by which lagging points are stopped; see ctxlm/lab/asha.py',
  )
  parser.add(
    use,
    '--asha_mode',
    **flags.one_of(('min', 'max')),
    default='min',
    help='which METRIC is best',
  )
  parser.add(
    use,
    '--asha_reduction',
    metavar='N',
    type=flags.number(Annotated[int, ranges.Range('[2, inf)')]),
    default=3,
    help='one of how many goes on',
  )
  parser.add(
    use,
    '--asha_least',
    metavar='N',
    type=count,
    default=1,
    help='steps of every point',
  )


def main(F):
  """Entry point of `ctxlm sweep`."""
  from ctxlm import files
  from ctxlm.lab import experiment, launchers
  from ctxlm.lab.points import command, points, values, write

  if len(F.paths) != 1:
    raise UserError('usage: ctxlm sweep EXPERIMENT.py --workdir DIR')
  (path,) = F.paths
  settings = values(F.overrides)
  module, workdir = experiment.load(path), Path(F.workdir)
  listed = points(module, F.scale, F.seeds, settings)
  jobs = [
    launchers.Job(
      name,
      workdir / name,
      command(path, F.scale, workdir / name, settings | overrides),
      config.num_steps,
    )
    for name, overrides, config in listed
  ]
  # The report knows the points, wherever they are trained.
  write(
    workdir,
    {
      'experiment': str(path),
      'scale': F.scale,
      'settings': settings,
      'points': {
        name: {'overrides': overrides, 'num_steps': config.num_steps}
        for name, overrides, config in listed
      },
    },
  )
  if F.launcher == 'print':
    for job in jobs:
      if not job.done:
        print(shlex.join(job.argv))
    return 0
  with contextlib.closing(files.Lock(workdir / '.lock', 'sweeps')):
    failed = launchers.run(jobs, _launcher(F), _halving(F))
  return 1 if failed else 0


def _launcher(F):
  from ctxlm.lab import cluster, local

  if F.launcher == 'ray':
    return cluster.Ray(F.ray_address, F.ray_cpus, F.ray_gpus, F.ray_resources)
  return local.Local(F.jobs)


def _halving(F):
  from ctxlm.lab import asha

  if not F.asha:
    return None
  largest = F.asha_mode == 'max'
  return asha.Asha(F.asha, largest, F.asha_reduction, F.asha_least)
