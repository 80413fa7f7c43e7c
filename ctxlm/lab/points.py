"""A sweep's points: an experiment's recipes, and the folder of their runs."""

import hashlib
import json
import re
import shutil
from ast import literal_eval
from pathlib import Path

import ml_collections

from ctxlm import config as config_lib
from ctxlm import files, recipes
from ctxlm.errors import UserError, note
from ctxlm.lab import SCALES, experiment, provenance
from ctxlm.parallel import locks
from ctxlm.recipes import overrides as overrides_lib
from ctxlm.training import run_folder

MOST = 100_000  # points of a sweep


def points(module, scale, seeds, settings):
  """Returns [(name, overrides, config)] of an experiment, all checked.

  Args:
    module: see ctxlm.lab.experiment.load.
    scale: one of lab.SCALES.
    seeds: range; every override without a 'seed' is taken with each.
    settings: {key: value} of every point's recipe, before its overrides; see
      `meant`.

  Raises:
    UserError: a key that the recipe lacks, a wrong value, a point twice, or a
      setting that the experiment overrides.
  """
  checked, names = [], set()
  path = Path(module.__file__)
  where = f'{path.name}: sweep()'
  listed = experiment.listed(module, 'sweep', scale)
  if not listed:
    raise UserError(f'{where} yields nothing')
  for overrides in listed:
    try:
      json.dumps(overrides)
    except (TypeError, ValueError) as e:
      raise UserError(f'{where}, point {overrides!r}: {e}') from e
    if not isinstance(overrides, dict):
      raise UserError(f'{where} yields {overrides!r}, which maps no keys')
  keys = telling(listed)
  every = seeds[: MOST + 1]
  expanded = [
    {**overrides, 'seed': seed}
    for overrides in listed
    for seed in ([overrides['seed']] if 'seed' in overrides else every)
  ]
  if len(expanded) > MOST:
    raise UserError(f'{where} and --seeds give more than {MOST:,} points')
  taken = set().union(*(meant(settings, o) for o in expanded))
  both = [
    key
    for key in settings
    if key not in taken or any(key in o for o in expanded)
  ]
  if both:
    raise UserError(
      f'{where} sets {both[0]} itself, so --config.{both[0]} would not count'
      + (': use --seeds' if both[0] == 'seed' else '')
    )
  for overrides in expanded:
    config = recipes.run(module.get_config, path, scale)
    if not isinstance(config, ml_collections.ConfigDict):
      raise UserError(f'{path}: get_config() must return the config')
    own = meant(settings, overrides)
    set_keys(config, own, overrides, f'{where} sets ')
    try:
      config_lib.check(config)
    except UserError as e:
      raise UserError(f'{where}, point {overrides}: {e}') from e
    name = name_of({k: v for k, v in overrides.items() if k in keys})
    if name in names:
      raise UserError(f'{where} yields the point {name} twice')
    names.add(name)
    checked.append((name, overrides, config))
  return checked


def meant(settings, own):
  """Returns the settings but those within a block that a point gives whole.

  Args:
    settings: {key: value} of --config.
    own: {key: value} of the point.

  >>> meant({'a.b': 1, 'c': 2}, {'a': {'name': 'x'}})
  {'c': 2}
  """
  return {
    key: value
    for key, value in settings.items()
    if not any(key.startswith(f'{name}.') for name in own)
  }


def set_keys(config, settings, own, said):
  """Sets dotted keys, as the command line of the point's training does.

  Args:
    config: changed in place.
    settings: {key: value} of --config.
    own: {key: value} of the point.
    said: what a mistake in `own` begins with, before the key.

  Raises:
    UserError: no such key, or a value of another kind.
  """
  try:
    overrides_lib.apply(config, (settings | own).items())
  except UserError as e:
    match = re.match(r'--config\.([\w.]+)', str(e))
    if match and match[1] in own:
      raise UserError(said + str(e).removeprefix('--config.')) from e
    raise


def telling(listed):
  """Returns the keys, in order, that it takes to tell points apart.

  The seed is one of them always, so that more seeds change no name.
  """
  keys, told = [], 1
  for key in dict.fromkeys(k for overrides in listed for k in overrides):
    more = {tuple(str(o.get(k)) for k in (*keys, key)) for o in listed}
    if len(more) > told:
      keys, told = [*keys, key], len(more)
  return {*keys, 'seed'}


def name_of(overrides):
  """Returns a folder's name, such as 'num_layers=1,seed=0'."""
  words = [k.split('.')[-1] for k in overrides]
  keys = [
    key.split('.')[-1] if words.count(key.split('.')[-1]) == 1 else key
    for key in overrides
  ]
  text = ','.join(f'{k}={v}' for k, v in zip(keys, overrides.values()))
  text = re.sub(r'[^\w.,=+-]+', '_', text)
  return text if len(text) <= 120 else _longer_name(text, overrides)


def _longer_name(text, overrides):
  digest = hashlib.sha256(json.dumps(overrides).encode()).hexdigest()[:8]
  return f'{text[:100]},{digest}'


def name_among(points, overrides):
  """Returns `name_of`, or another name if a point of other overrides has it.

  Args:
    points: {name: point}, of sweep.json.
    overrides: {key: value}.
  """
  name = name_of(overrides)
  told = points.get(name)
  if told and identity(told['overrides']) != identity(overrides):
    return _longer_name(name, overrides)
  return name


def command(recipe, folder, overrides):
  """Returns the argv of `ctxlm train` that trains a point."""
  return [
    'ctxlm',
    'train',
    f'--config={recipe}',
    f'--workdir={folder}',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]


def read(workdir):
  """Returns what DIR/sweep.json says, or None."""
  path = Path(workdir) / 'sweep.json'
  if not path.exists():
    return None
  advice = 'the same ctxlm sweep command writes it anew'
  try:
    plan = files.read_json(path)
  except UserError as e:
    raise UserError(f'{e}: {advice}') from e
  points, settings = plan.get('points'), plan.get('settings')
  if (
    not isinstance(plan.get('experiment'), str)
    or plan.get('scale') not in (*SCALES, '')
    or not isinstance(settings, dict)
    or not isinstance(points, dict)
    or not isinstance(plan.get('commits'), list)
    or not all(map(_is_point, points.values()))
  ):
    raise UserError(f'{path} is no list of points: {advice}')
  return plan


def _is_point(point):
  return (
    isinstance(point, dict)
    and isinstance(point.get('overrides'), dict)
    and isinstance(point['overrides'].get('seed'), int)
    and isinstance(point.get('num_steps'), int)
    and isinstance(point.get('recipe'), str)
  )


def read_older(workdir):
  """Returns what `read` does; None, with a note, if it can't be read."""
  try:
    return read(workdir)
  except UserError as e:
    note(str(e))
    return None


def write(workdir, plan):
  """Writes DIR/sweep.json; returns it, with what stays of an older one.

  Args:
    workdir: pathlib.Path of a folder that is held, see locks.held.
    plan: 'experiment', 'scale', 'settings' and 'points'; of a recipe also
      'over', {key: text}, and what it is ranked by. The commits that it ran
      at are added.

  Raises:
    UserError: the folder is of another sweep, or has points of another recipe.
  """
  old = read_older(workdir)
  plan = json.loads(json.dumps(plan))  # tuples are lists there
  for key in ('experiment', 'scale', 'settings') if old else ():
    same = old[key] == plan[key]
    if key == 'settings':  # 1e-3 and 0.001 are the same
      was, now = (
        values((k, str(v)) for k, v in each[key].items())
        for each in (old, plan)
      )
      same = was == now
    if key == 'experiment':
      same = file_of(old[key]) == file_of(plan[key])
    if not same:
      raise UserError(
        f'{workdir} holds a sweep with {key} {old[key]!r}, not {plan[key]!r}; '
        'use another --workdir'
      )
  keys, were = (sorted(p.get('over', {})) for p in (plan, old or plan))
  if keys != were:
    raise UserError(
      f'{workdir} holds a sweep over '
      f'{", ".join(were) or "the points of an experiment"}; use another '
      '--workdir'
    )
  there = () if (workdir / 'sweep.json').exists() else workdir.iterdir()
  if any(p.name != locks.NAME and not files.is_temporary(p) for p in there):
    raise UserError(f'--workdir {workdir} holds other files; use an empty one')
  if old:  # other seeds of the same points stay, and all of a recipe
    were, now = (p.get('recipe') for p in (old, plan))
    another = were and were != now
    if another and any(begun(workdir / name) for name in old['points']):
      raise UserError(
        f'{workdir} holds points of another recipe: but for what varies, its '
        f'config had the hash {were}, now {now}; use another --workdir, or put '
        'the recipe back'
      )
    renamed = _renamed(workdir, old, plan)

    def bare(point):
      own = {k: v for k, v in point['overrides'].items() if k != 'seed'}
      return identity(own)

    listed = {bare(p): p['recipe'] for p in plan['points'].values()}
    stay = {}
    for name, point in old['points'].items():
      now = listed.get(bare(point))
      if now is None and 'over' not in plan:
        continue
      if now in (None, point['recipe']):
        stay[name] = point
      elif begun(workdir / name):
        raise UserError(
          f'{workdir} holds {name} of another recipe: its config had the hash '
          f'{point["recipe"]}, now {now}; use another --workdir, or put the '
          'recipe back'
        )  # else nothing of it was trained
    both = stay | plan['points']
    plan['points'] = {n: p for n, p in both.items() if n not in renamed}
    for was, now in renamed.items():
      if begun(workdir / was):
        shutil.rmtree(workdir / now, ignore_errors=True)  # with nothing trained
        (workdir / was).rename(workdir / now)
  commits = [*(old or {}).get('commits', []), provenance.commit()]
  plan['commits'] = list(dict.fromkeys(commits))
  files.write_text(workdir / 'sweep.json', json.dumps(plan, indent=1) + '\n')
  return plan


def begun(folder):
  """Whether a point's training has begun in its folder."""
  return not run_folder.is_unbegun(folder)


def identity(overrides):
  """Returns a text that overrides {key: value} share if they say the same."""
  return json.dumps(overrides, sort_keys=True)


def _renamed(workdir, old, plan):
  # {old name: new name} of points: names tell points apart, so with an arm more
  # they may be others, and folders take those.
  names = {
    identity(point['overrides']): name for name, point in plan['points'].items()
  }
  renamed = {}
  for was, point in old['points'].items():
    now = names.get(identity(point['overrides']), was)
    if was == now:
      continue
    if now in old['points'] or (begun(workdir / was) and begun(workdir / now)):
      raise UserError(
        f'{workdir} holds one point twice, as {was} and as {now}: remove one '
        'of the folders, and its line in sweep.json'
      )
    renamed[was] = now
  return renamed


def file_of(name):
  """Returns (path, argument) of a recipe or an experiment, however named."""
  name, _, argument = name.partition(':')
  try:
    return recipes.find(name).resolve(), argument
  except UserError:  # it is no longer there
    return Path(name).resolve(), argument


def values(overrides):
  """Returns {key: value} of [(key, text)] of a command line."""
  settings = {}
  for key, text in overrides:
    try:
      settings[key] = literal_eval(text)
    except (SyntaxError, ValueError):
      settings[key] = {'true': True, 'false': False}.get(text, text)
  return settings
