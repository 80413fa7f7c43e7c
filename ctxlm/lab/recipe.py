"""Sweeping a plain recipe: what `ctxlm sweep configs/NAME.py --over` does.

A recipe is a file with `get_config()`. Its points, beside the seeds, are those
of a grid, are drawn, or are proposed by a search that is told what came of the
ones before.
"""

import dataclasses
import shlex

import ml_collections

from ctxlm import config as config_lib
from ctxlm import recipes
from ctxlm.errors import UserError, note
from ctxlm.lab import launchers, provenance, ranking, search
from ctxlm.lab import points as points_lib
from ctxlm.lab import results as results_lib
from ctxlm.lab import space as space_lib
from ctxlm.parallel import locks

LONGER = 10  # times the steps, in the command that is suggested


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A recipe, and what is varied.

  Attributes:
    name: as `ctxlm train --config` has it.
    settings: {key: value} of every point.
    needs: {key: value} that the metric asks for.
    space: {key: space.Choice or space.Range}.
    metric: ranking.Metric.
    flag: which asked for it, or '' where none did.
  """

  name: str
  settings: dict
  needs: dict
  space: dict
  metric: ranking.Metric
  flag: str

  def config(self, own):
    """Returns the config of overrides {key: value}; it isn't checked."""
    config = recipes.load(self.name)
    points_lib.set_keys(config, self.settings | self.needs, own, '--over ')
    return config

  def check(self, own):
    """Raises UserError if the config of overrides can't run."""
    try:
      config_lib.check(self.config(own))
    except UserError as e:
      if str(e).startswith('--over '):
        raise
      said = ', '.join(f'{k}={v}' for k, v in own.items())
      raise UserError(f'--over {said}: {e}') from e

  def command(self, folder, own):
    """Returns the argv that trains overrides in a folder."""
    both = self.settings | self.needs | own
    return points_lib.command(self.name, folder, both)


def open_recipe(name, over, settings, metric='', flag='--metric'):
  """Opens a recipe to be swept; returns a Recipe.

  Args:
    name: see recipes.load.
    over: [str], see space.parse.
    settings: {key: value} of every point.
    metric, flag: see ranking.choose.

  Raises:
    UserError: no such recipe, key, value or metric.
  """
  space = space_lib.parse(over)
  for key in space:
    if key in settings:
      raise UserError(
        f'--over {key} and --config.{key}: a key varies, or it is set'
      )
  if 'seed' in settings:
    raise UserError('--config.seed would not count: use --seeds')
  config = recipes.load(name)
  points_lib.set_keys(config, settings, {}, '')
  config_lib.check(config)
  by, needs = ranking.choose(config, metric, flag)
  recipe = Recipe(name, settings, needs, {}, by, flag if metric else '')
  for key, part in space.items():
    values = [value_at(recipe.config({key: x}), key) for x in part.probes]
    try:
      space[key] = part.typed(values)
    except ValueError as e:
      raise UserError(f'--over {key}: {e}') from e
  recipe = dataclasses.replace(recipe, space=space)
  for key, part in space.items():
    for value in part.probes:
      recipe.check({key: value})
  return recipe


def value_at(config, key):
  """Returns the plain value at a dotted key."""
  value = config
  for word in key.split('.'):
    value = value[int(word) if isinstance(value, (list, tuple)) else word]
  is_block = isinstance(value, ml_collections.ConfigDict)
  return value.to_dict() if is_block else value


class Sweep:
  """The points of a recipe in a folder: what is listed, and what came of it."""

  def __init__(self, recipe, workdir, seeds, over, how):
    """Opens the folder.

    Args:
      recipe: Recipe.
      workdir: pathlib.Path.
      seeds: range, of every point.
      over: [str], as the command line has it.
      how: [str], the flags that say how points are chosen.

    Raises:
      UserError: the folder is of another sweep.
    """
    self.recipe, self.workdir, self.seeds = recipe, workdir, seeds
    self.plan = {
      'experiment': recipe.name,
      'scale': '',
      'settings': recipe.settings,
      'needs': recipe.needs,
      'recipe': provenance.without(recipe.config({}), recipe.space),
      'over': dict(word.split('=', 1) for word in over),
      'how': how,
      'metric': recipe.metric.name,
      'mode': recipe.metric.mode,
      'points': {},
      'failed': (points_lib.read_older(workdir) or {}).get('failed', {}),
    }
    self._write()

  def _write(self):
    self.plan = points_lib.write(self.workdir, self.plan)

  def add(self, listed):
    """Lists points, of all seeds; returns their [launchers.Job]."""
    jobs = []
    for own in listed:
      config = self.recipe.config(own)
      for seed in self.seeds:
        overrides = own | {'seed': seed}
        name = points_lib.name_among(self.plan['points'], overrides)
        folder = self.workdir / name
        argv = self.recipe.command(folder, overrides)
        jobs.append(launchers.Job(name, folder, argv, config.num_steps))
        self.plan['points'][name] = provenance.planned(overrides, config)
    self._write()
    return jobs

  def retry(self, jobs):
    """Forgets that jobs had failed; returns them."""
    for job in jobs:
      self.plan['failed'].pop(job.name, None)
    self._write()
    return jobs

  def standings(self):
    """Returns the points as they stand; see ranking.rank."""
    results = results_lib.read(self.workdir, self.plan)
    return ranking.rank(results, self.recipe.metric)

  def trials(self):
    """Returns [search.Trial] of the points so far, in order."""
    standings = {points_lib.identity(s.overrides): s for s in self.standings()}
    ordered = dict.fromkeys(
      points_lib.identity(
        {k: v for k, v in p['overrides'].items() if k != 'seed'}
      )
      for p in self.plan['points'].values()
    )
    return [
      search.Trial(
        {k: _tuples(v) for k, v in standings[key].overrides.items()},
        *ranking.outcome(standings[key], self.recipe.metric),
      )
      for key in ordered
    ]

  def begun(self, count):
    """Returns at most `count` points that a search has proposed before."""
    space = self.recipe.space
    return [
      trial.overrides
      for trial in self.trials()
      if all(part.holds(trial.overrides[k]) for k, part in space.items())
    ][:count]

  def propose(self, count):
    """Returns the [Job] of one more point, or [] once there are `count`."""
    if len(self.begun(count)) == count:
      return []
    own = search.propose(self.recipe.space, self.trials())
    return self.add([own] if own else [])

  def note_failure(self, job):
    """Writes down that a job failed.

    Raises:
      UserError: because no evaluator gives the metric, so that all will.
    """
    name, reason = self.recipe.metric.name, job.reason
    _, found, hint = reason.partition('is a metric of no evaluator.')
    if found and f'config.checkpoint.best={name!r}' in reason:
      flag = self.recipe.flag or '--metric'
      raise UserError(f'{flag} {name}: no evaluator gives it.{hint}')
    self.plan['failed'][job.name] = reason
    self._write()


def longer(plan, workdir, standings):
  """Returns the argv that trains the best point longer, or None.

  Args:
    plan: what sweep.json says.
    workdir: pathlib.Path.
    standings: of ranking.rank.
  """
  best = standings[0]
  if not best.ranked:
    return None
  needs = {
    key: value * LONGER if key.endswith('.every_steps') else value
    for key, value in plan['needs'].items()
  }
  steps = {'num_steps': LONGER * best.points[0].num_steps}
  own = plan['settings'] | needs | best.overrides | steps
  own = {key: _tuples(value) for key, value in own.items()}
  return points_lib.command(plan['experiment'], workdir / 'best', own)


def sweep_commands(plan, workdir):
  """Returns the [argv] of the sweep itself, without where its points ran.

  Args:
    plan: what sweep.json says.
    workdir: pathlib.Path.
  """
  begin = ['ctxlm', 'sweep', plan['experiment'], f'--workdir={workdir}']
  begin += [f'--over={key}={text}' for key, text in plan['over'].items()]
  end = [f'--metric={plan["metric"]}:{plan["mode"]}']
  end += [f'--config.{key}={v}' for key, v in plan['settings'].items()]
  return [
    [*begin, *plan['how'], *seeds, *end]
    for seeds in provenance.seed_flags(plan)
  ]


def sweep(
  recipe, workdir, over, seeds, launcher, count=None, bayes=False, halving=None
):
  """Trains the points of a recipe; returns the names of those that failed.

  Args:
    recipe: Recipe.
    workdir: pathlib.Path.
    over: [str], as the command line has it.
    seeds: range, of every point.
    launcher: function that makes one; None prints the command of each point.
    count: of points that are drawn; None is the grid.
    bayes: whether they are proposed, and not drawn.
    halving: see launchers.run.

  Raises:
    UserError: for all that the user can mend.
  """
  listed = []
  if bayes:
    search.check()
    if not launcher or not count:
      raise UserError(
        '--search=bayes is told what came of each point, so it has no commands '
        'to print: use --launcher=local or ray'
        if count
        else '--search=bayes needs --points=N: how many to try'
      )
  else:
    drawn = count is not None
    space = recipe.space
    listed = space_lib.draw(space, count) if drawn else space_lib.grid(space)
    for own in listed:
      recipe.check(own)
  how = [f'--points={count}'] if count else []
  how += ['--search=bayes'] * bayes
  with locks.held(workdir, 'sweeps'):
    swept = Sweep(recipe, workdir, seeds, over, how)
    jobs = swept.add(swept.begun(count) if bayes else listed)
    if launcher:
      if not recipe.flag:
        note(f'the best is by {recipe.metric.words}; --metric names another')
      failed = launchers.run(
        swept.retry(jobs),
        launcher(),
        halving,
        more=(lambda: swept.propose(count)) if bayes else None,
        failure=swept.note_failure,
        whole=count * len(seeds) if bayes else 0,
      )
  if not launcher:
    for job in jobs:
      if not job.done:
        print(shlex.join(job.argv))
    return []
  standings = swept.standings()
  for line in ranking.summary(standings, recipe.metric):
    print(line)
  if command := longer(swept.plan, workdir, standings):
    print(f'to train it longer:\n  {shlex.join(command)}')
  return failed


def _tuples(value):
  # JSON has lists.
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
