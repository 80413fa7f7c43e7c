r"""Train all points of an experiment or a recipe, or go on with them.

A recipe is swept over what `--over` says, and the best of its points is named.
Each point is an ordinary run folder DIR/POINT. The same command again skips
the points that are done and goes on with the others; `ctxlm report` may be
asked at any time. Seeds are those that nothing was tuned on, unless others are
asked for.

  ctxlm sweep experiments/induction.py --workdir sweeps/induction --jobs=2
  ctxlm sweep experiments/mqar.py --workdir sweeps/mqar --launcher=print
  ctxlm sweep experiments/mqar.py --workdir sweeps/long --config.num_steps=9000
  ctxlm sweep experiments/mqar.py --workdir sweeps/t --first_seed=0 --seeds=2
  ctxlm sweep configs/quickstart_causal.py --workdir sweeps/rates \
    --over optimizer.learning_rate=1e-3,3e-3,1e-2 --over model.num_layers=2,4
  ctxlm sweep configs/quickstart_mlm.py --workdir sweeps/search --seeds=1 \
    --over optimizer.learning_rate=log:1e-4:1e-2 --points=20 --search=bayes
"""

import functools
import shlex
from pathlib import Path
from typing import Annotated

from ctxlm import lab, ranges, recipes
from ctxlm.commands import flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm sweep`."""
  parser.add_paths(
    'NAME', 'an experiment or a recipe, or the path of one', recipes.ours
  )
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
    help='how large those of an experiment are (default: small)',
  )
  parser.add(
    use,
    '--seeds',
    metavar='N',
    type=count,
    help='seeds of every point (default: as many as a verdict takes; 3 of a '
    'recipe)',
  )
  parser.add(
    use,
    '--first_seed',
    metavar='N',
    type=flags.number(ranges.Seed),
    help="the first of them (default: an experiment's first that its settings "
    'were not chosen on; 0 of a recipe)',
  )
  use = 'which points of a recipe'
  parser.add(
    use,
    '--over',
    metavar='KEY=VALUES',
    action='append',
    default=[],
    help='what varies: values with commas, or log:LOW:HIGH, or '
    'uniform:LOW:HIGH; once for each key',
  )
  parser.add(
    use,
    '--points',
    metavar='N',
    type=count,
    help='how many are drawn; left out, all of the grid',
  )
  parser.add(
    use,
    '--search',
    **flags.one_of(('random', 'bayes')),
    default='random',
    help='how they are drawn: at random, or by what came of those before',
  )
  parser.add(
    use,
    '--metric',
    metavar='NAME/METRIC',
    default='',
    help='by which the best is named, with :max where the greatest is; left '
    'out, config.checkpoint.best, or else the loss of an evaluator',
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
  from ctxlm.lab import cluster, experiment, launchers
  from ctxlm.lab.points import command, meant, points, write
  from ctxlm.lab.provenance import planned
  from ctxlm.parallel import locks

  if len(F.paths) != 1:
    raise UserError('usage: ctxlm sweep EXPERIMENT.py --workdir DIR')
  if F.over:
    if F.scale:
      raise UserError(
        "--scale is an experiment's: give a recipe's argument as FILE:ARGUMENT"
      )
    return _sweep_recipe(F)
  for name, value in (('points', F.points), ('metric', F.metric)):
    if value:
      raise UserError(f'--{name} goes with --over, which sweeps a recipe')
  (path,) = F.paths
  cluster.resources_of(F.ray_resources)
  settings, scale = dict(F.overrides), F.scale or 'small'
  module, workdir = experiment.load(path), Path(F.workdir)
  first = module.SEEDS.first if F.first_seed is None else F.first_seed
  seeds = range(first, first + (F.seeds or module.SEEDS.least))
  listed = points(module, scale, seeds, settings)
  jobs = [
    launchers.Job(
      name,
      workdir / name,
      command(
        f'{path}:{scale}',
        workdir / name,
        meant(settings, overrides) | overrides,
      ),
      config.num_steps,
    )
    for name, overrides, config in listed
  ]
  plan = {
    'experiment': str(path),
    'scale': scale,
    'settings': settings,
    'points': {
      name: planned(overrides, config) for name, overrides, config in listed
    },
  }
  with locks.held(workdir, 'sweeps'):
    # The report knows the points, wherever they are trained.
    write(workdir, plan)
    if F.launcher != 'print':
      return 1 if launchers.run(jobs, _launcher(F), _halving(F)) else 0
  for job in jobs:
    if not job.done:
      print(shlex.join(job.argv))
  return 0


def _sweep_recipe(F):
  from ctxlm.lab import asha, ranking, recipe

  early = F.asha and (F.asha if ':' in F.asha else f'{F.asha}:{F.asha_mode}')
  flag = '--asha' if early and not F.metric else '--metric'
  swept = recipe.open_recipe(
    F.paths[0], F.over, dict(F.overrides), F.metric or early, flag
  )
  halving = None
  if early:
    by, _ = ranking.choose(swept.config({}), early, '--asha')
    halving = asha.Asha(by.name, by.largest, F.asha_reduction, F.asha_least)
  bayes = F.search == 'bayes'
  # All are queued at once, unless the next waits for what comes of them.
  launcher = functools.partial(_launcher, F, F.jobs if bayes else None)
  failed = recipe.sweep(
    swept,
    Path(F.workdir),
    F.over,
    range(F.first_seed or 0, (F.first_seed or 0) + (F.seeds or 3)),
    None if F.launcher == 'print' else launcher,
    F.points,
    bayes,
    halving,
  )
  return 1 if failed else 0


def _launcher(F, queued=None):
  from ctxlm import cli
  from ctxlm.lab import cluster, local

  if F.launcher == 'ray':
    return cluster.Ray(
      F.ray_address, F.ray_cpus, F.ray_gpus, F.ray_resources, queued
    )
  return local.Local(F.jobs, cli.main)


def _halving(F):
  from ctxlm.lab import asha

  if not F.asha:
    return None
  largest = F.asha_mode == 'max'
  return asha.Asha(F.asha, largest, F.asha_reduction, F.asha_least)
