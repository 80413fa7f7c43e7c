"""Where a sweep's points come from: their recipes, the code and the seeds."""

import functools
import json
import subprocess
from pathlib import Path

import ctxlm
from ctxlm import config as config_lib
from ctxlm import files, recipes

DIGITS = 12  # of a hash


def planned(overrides, config):
  """Returns what sweep.json says of a point: also the hash of its recipe.

  That is of the whole config, but of seed 0, so that seeds of a point share it.

  Args:
    overrides: {key: value}.
    config: the whole one.
  """
  return {
    'overrides': overrides,
    'num_steps': config.num_steps,
    'recipe': without(config, ()),
  }


def without(config, keys):
  """Returns the hash of a config of seed 0 but for what stands at dotted keys.

  Args:
    config: the whole one.
    keys: of values that vary.
  """
  seed, config.seed = config.seed, 0  # and what refers to it
  text = config_lib.to_json(config)
  config.seed = seed
  if keys:
    plain = json.loads(text)
    for key in keys:
      *path, last = key.split('.')
      block = plain
      for word in path:
        block = block[int(word) if isinstance(block, list) else word]
      block[int(last) if isinstance(block, list) else last] = None
    text = json.dumps(plain, sort_keys=True)
  return files.digest(text)[:DIGITS]


@functools.cache
def commit():
  """Returns which code this is: its commit, or the version of the package."""

  def git(*words):
    argv = ['git', '-C', str(recipes.HOME), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True)

  try:
    where = Path(git('rev-parse', '--show-toplevel').stdout.strip())
    if where != recipes.HOME.resolve().parent:
      raise FileNotFoundError  # it is installed within another's checkout
    at = git('rev-parse', f'--short={DIGITS}', 'HEAD').stdout.strip()
    changed = git('status', '--porcelain', '--untracked-files=no').stdout
    return f'{at} with changes' if changed else at
  except (OSError, subprocess.CalledProcessError):
    return f'ctxlm {ctxlm.__version__}'


def seed_flags(plan):
  """Returns the [flags] of `ctxlm sweep` that list all seeds of a sweep.

  More than one if seeds between were left out.

  Args:
    plan: what sweep.json says.
  """
  seeds = [point['overrides']['seed'] for point in plan['points'].values()]
  return [
    [f'--first_seed={a}', f'--seeds={b - a + 1}'] for a, b in spans(seeds)
  ]


def words(plan, results, seeds=None):
  """Returns a paragraph on how far a sweep is, and where it comes from.

  Args:
    plan: what sweep.json says.
    results: results.Results.
    seeds: verdicts.Seeds of an experiment.
  """
  done = sum(p.done for p in results.points)
  scale = f', at scale {plan["scale"]}' if plan['scale'] else ''
  text = f'{done} of {len(results.points)} runs are done{scale}, '
  text += f'of seeds {listed(results.seeds)}. '
  if seeds:
    text += (
      f'Verdicts are of seeds {listed(results.confirming(seeds).seeds)}, and '
      f'take {seeds.words}; tuned on were {listed(seeds.tuned)}. '
    )
  ran = ' and '.join(plan['commits'])
  return f'{text}Recipe {recipe_hash(plan)}; swept at commit {ran}.'


def listed(numbers):
  """Returns whole numbers as text.

  >>> listed([0, 1, 2, 5]), listed([])
  ('0 to 2, 5', 'none')
  """
  parts = [f'{a} to {b}' if a < b else f'{a}' for a, b in spans(numbers)]
  return ', '.join(parts) or 'none'


def spans(numbers):
  """Returns [(first, last)] of whole numbers that follow each other.

  >>> spans([5, 0, 1, 2])
  [(0, 2), (5, 5)]
  """
  numbers = {*numbers}
  first = sorted(n for n in numbers if n - 1 not in numbers)
  last = sorted(n for n in numbers if n + 1 not in numbers)
  return list(zip(first, last))


def recipe_hash(plan):
  """Returns one hash for all points of a sweep.

  Args:
    plan: what sweep.json says.
  """
  own = sorted({point['recipe'] for point in plan['points'].values()})
  return files.digest(*own)[:DIGITS] if len(own) > 1 else own[0]
