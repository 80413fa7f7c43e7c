"""`ctxlm sweep EXPERIMENT.py --workdir DIR`: every point, and on from there.

Each point is an ordinary run folder DIR/POINT. The same command again skips
the points that are done and goes on with the others; `ctxlm report` may be
asked at any time.
"""

import contextlib
import shlex
from pathlib import Path

from absl import flags

from ctxlm import files
from ctxlm.errors import UserError
from ctxlm.lab import asha, cluster, experiment, launchers, local
from ctxlm.lab.points import command, parse, points, write


def define_flags():
  """Defines the flags of `ctxlm sweep`."""
  flags.DEFINE_string('workdir', None, 'folder of the run folders')
  flags.DEFINE_enum('scale', 'small', experiment.SCALES, 'how large')
  flags.DEFINE_integer('seeds', 3, 'seeds of every point', lower_bound=1)
  flags.DEFINE_integer('jobs', 1, 'points at once', lower_bound=1)
  flags.DEFINE_enum(
    'launcher', 'local', ('local', 'ray', 'print'), 'where points run'
  )
  flags.DEFINE_string('ray_address', 'auto', "the cluster's; see ray.init")
  for what, count in (('cpus', 1), ('gpus', 0)):
    text = f'{what[:-1].upper()}s that a point asks of the cluster'
    flags.DEFINE_float(f'ray_{what}', count, text, lower_bound=0)
  flags.DEFINE_string(
    'ray_resources', '', "others that a point asks of one host: 'TPU=4'"
  )
  flags.DEFINE_string(
    'asha',
    '',
    'METRIC by which lagging points are stopped early; see ctxlm.lab.asha',
  )
  flags.DEFINE_enum('asha_mode', 'min', ('min', 'max'), 'which METRIC is best')
  flags.DEFINE_integer(
    'asha_reduction', 3, 'one of how many goes on', lower_bound=2
  )
  flags.DEFINE_integer('asha_least', 1, 'steps of every point', lower_bound=1)


def main(arguments):
  """Entry point of `ctxlm sweep`.

  Args:
    arguments: the experiment's path, and --config.KEY=VALUE.
  """
  F = flags.FLAGS
  paths, settings = parse(arguments)
  if len(paths) != 1:
    raise UserError('usage: ctxlm sweep EXPERIMENT.py --workdir DIR')
  if F.workdir is None:
    raise UserError('--workdir DIR is needed: the folder of the run folders')
  module, workdir = experiment.load(paths[0]), Path(F.workdir)
  listed = points(module, F.scale, F.seeds, settings)
  jobs = [
    launchers.Job(
      name,
      workdir / name,
      command(paths[0], F.scale, workdir / name, settings | overrides),
      config.num_steps,
    )
    for name, overrides, config in listed
  ]
  # The report knows the points, wherever they are trained.
  write(
    workdir,
    {
      'experiment': str(paths[0]),
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
  if F.launcher == 'ray':
    return cluster.Ray(F.ray_address, F.ray_cpus, F.ray_gpus, F.ray_resources)
  return local.Local(F.jobs)


def _halving(F):
  if not F.asha:
    return None
  largest = F.asha_mode == 'max'
  return asha.Asha(F.asha, largest, F.asha_reduction, F.asha_least)
