"""A checkpoint judged by the evaluators of a recipe, or of its own run."""

import dataclasses
from pathlib import Path

from ctxlm import config as config_lib
from ctxlm import models, plugins, recipes, trees
from ctxlm.errors import UserError
from ctxlm.families import hub
from ctxlm.parallel import placement as placement_lib
from ctxlm.recipes import overrides as overrides_lib
from ctxlm.recipes import own_data
from ctxlm.training import initial, run_folder
from ctxlm.training import program as program_lib

ITS_OWN = ('model', 'tokenizer')


@dataclasses.dataclass(frozen=True)
class Judged:
  """What `judge` gives.

  Attributes:
    folder: pathlib.Path.
    step: of a run, or None.
    metrics: {'eval/NAME/METRIC': float}.
    signatures: {'eval/NAME/METRIC': how it is computed}, of some.
  """

  folder: Path
  step: int | None
  metrics: dict
  signatures: dict


def judge(folder, step='', recipe=None, overrides=(), data=()):
  """Runs evaluators on a checkpoint; returns Judged.

  Args:
    folder: of any kind, see loading.load.
    step: of a run folder, see checkpoint.find.
    recipe: whose tasks and evaluators judge, see recipes.load; None is the
      run's own.
    overrides: [(key, text)] of it.
    data: [[TASK=]FILES[:FIELDS]] in place of its own, see own_data.with_data;
      whatever split an evaluator reads, it is all of them.

  Raises:
    UserError: it can't be read, or not judged so.
  """
  folder = hub.find(folder)
  for key, _ in overrides:
    if key.split('.')[0] in ITS_OWN:
      raise UserError(f'--config.{key}: the checkpoint has its own')
  if run_folder.is_one(folder):
    opened, step = run_folder.open_folder(folder, step)
  else:
    opened, step = initial.open_folder(folder, step), None
  if recipe is not None:
    config = recipes.load(recipe)
  elif step is not None:
    config = run_folder.load_config(folder)
  else:
    raise UserError(
      f'{folder} is no run folder: name the recipe whose evaluators judge it, '
      'with --config RECIPE'
    )
  for text in data:
    own_data.with_data(config, text, whole=True)
  config = overrides_lib.apply(config, overrides)
  if not config.evaluators:
    raise UserError(
      'no evaluator: add one, such as --config.evaluators.lm.name=perplexity'
    )
  if opened.tokenizer is None:
    raise UserError(f'{folder} has no tokenizer: put its files there')
  with config.unlocked():
    config.model = opened.block
    kind = plugins.find('models', opened.block['name'])
    if issubclass(kind, models.Counts):
      config.num_steps, config.init_from = 0, ''
    for task in config.tasks.values():
      if opened.task and opened.task['name'] == task.objective.name:
        del task['objective']  # its labels, and how its head reads
        task.objective = opened.task
    longest = opened.block.get('max_length', config.max_length)
    config.max_length = min(config.max_length, longest)
  config_lib.check(config)
  placement = placement_lib.make(config)
  program = program_lib.build(config, placement, opened.tokenizer)
  if recipe is not None and not program.counts:
    _check_heads(program, opened)
  params = opened.read_all(placement.shardings)
  if program.counts:
    program.model.check(params, folder)
  program.bench.rehearse(params)  # mistakes come before long work
  metrics = program.evaluate(list(config.evaluators), params)
  return Judged(folder, step, metrics, program.bench.signatures)


def _check_heads(program, opened):
  there = trees.flatten(opened.shapes)
  for name in trees.flatten(program.shapes):
    if name not in there:
      raise UserError(
        f'{opened.folder} has no {name}, which the objectives of the recipe '
        'need: judge it by a recipe of what it was trained for'
      )
