"""`ctxlm sweep EXPERIMENT.py --workdir DIR`: every point, and on from there.

Each point is an ordinary run folder DIR/POINT. The same command again skips
the points that are done and goes on with the others; `ctxlm report` may be
asked at any time.
"""

import fcntl
import shlex
from pathlib import Path

from absl import flags

from ctxlm.errors import UserError
from ctxlm.lab import experiment, launchers
from ctxlm.lab.points import command, parse, points, write


def define_flags():
  """Defines the flags of `ctxlm sweep`."""
  flags.DEFINE_string('workdir', None, 'folder of the run folders')
  flags.DEFINE_enum('scale', 'small', experiment.SCALES, 'how large')
  flags.DEFINE_integer('seeds', 3, 'seeds of every point', lower_bound=1)
  flags.DEFINE_integer('jobs', 1, 'points at once', lower_bound=1)
  flags.DEFINE_enum('launcher', 'local', launchers.NAMES, 'where points run')
  launchers.define_flags()


def main(arguments):
  """Entry point of `ctxlm sweep`."""
  F = flags.FLAGS
  paths, settings = parse(arguments)
  if len(paths) != 1:
    raise UserError('usage: ctxlm sweep EXPERIMENT.py --workdir DIR')
  if F.workdir is None:
    raise UserError('--workdir DIR is needed: the folder of the run folders')
  module, workdir = experiment.load(paths[0]), Path(F.workdir)
  found = points(module, F.scale, F.seeds, settings)
  jobs = [
    launchers.Job(
      name,
      workdir / name,
      command(paths[0], F.scale, workdir / name, settings | overrides),
      config.num_steps,
    )
    for name, overrides, config in found
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
        for name, overrides, config in found
      },
    },
  )
  if F.launcher == 'print':
    for job in jobs:
      if not job.done:
        print(shlex.join(job.argv))
    return 0
  with (workdir / '.lock').open('w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
      raise UserError(f'another sweep runs in {workdir}') from e
    failed = launchers.run(F.launcher, jobs, F)
  return 1 if failed else 0


# Paths, and --config.KEY=VALUE, are left to `main`.
takes_arguments = True
