"""A checkpoint judged by the evaluators of a recipe, or of its own run."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from ctxlm import config as config_lib
from ctxlm import models, plugins, recipes, trees
from ctxlm.errors import UserError
from ctxlm.families import hub
from ctxlm.inference import loading, widening, writing
from ctxlm.objectives import causal, retrieved
from ctxlm.parallel import placement as placement_lib
from ctxlm.recipes import overrides as overrides_lib
from ctxlm.recipes import own_data
from ctxlm.training import initial, run_folder
from ctxlm.training import program as program_lib

ITS_OWN = ('model', 'tokenizer')
OF_TRAINING = ('num_steps', 'optimizer', 'checkpoint', 'init_from', 'adapt')
LONGEST = 2**20  # tokens that a model without a length of its own is shown


@dataclasses.dataclass(frozen=True)
class Judged:
  """What `judge` gives.

  Attributes:
    folder: pathlib.Path.
    step: of a run, or None.
    metrics: {'eval/NAME/METRIC': float}.
    signatures: {'eval/NAME/METRIC': how it is computed}, of some.
    examples: {'eval/NAME': [what it says of each example]}, of some.
  """

  folder: Path
  step: int | None
  metrics: dict
  signatures: dict
  examples: dict


def judge(
  folder,
  step='',
  recipe=None,
  overrides=(),
  data=(),
  context=(),
  few_shot=None,
):
  """Runs evaluators on a checkpoint; returns Judged.

  Args:
    folder, step, recipe, overrides, data, few_shot: see `open_program`.
    context: see widening.widen.

  Raises:
    UserError: it can't be read, or not judged so.
  """
  program, loaded, step = open_program(
    folder, step, recipe, overrides, data, few_shot
  )
  if not program.config.evaluators:
    raise UserError(
      'no evaluator: add one, such as --config.evaluators.lm.name=perplexity'
    )
  if few_shot is not None:
    if context:
      raise UserError('--few_shot asks a model alone: leave --context out')
    widening.need_plain(loaded)
  loaded = widening.widen(loaded, context, program.placement)
  if context:
    need_rows(program.tasks)
  program = dataclasses.replace(program, model=loaded.model)
  bench = program.bench
  trained_here = step is not None or loaded.small is None
  bench.frame = writing.frame_of_decoder(loaded.tokenizer, trained_here)
  bench.vectors_by = functools.partial(initial.vectors_by, program.placement)
  if few_shot is None:
    bench.rehearse(loaded.params)  # mistakes come before long work
  metrics = program.evaluate(list(program.config.evaluators), loaded.params)
  return Judged(loaded.folder, step, metrics, bench.signatures, bench.examples)


def open_program(
  folder, step='', recipe=None, overrides=(), data=(), few_shot=None
):
  """Opens a checkpoint with the tasks of a recipe, or of its own run.

  Args:
    folder: of any kind, see loading.load.
    step: of a run folder, see checkpoint.find.
    recipe: whose tasks and evaluators judge, see recipes.load; None is the
      run's own.
    overrides: [(key, text)] of it.
    data: [[TASK=]FILES[:FIELDS]] in place of its own, see own_data.with_data;
      whatever split an evaluator reads, it is all of them.
    few_shot: a task in place of a recipe, see recipes.load_task.

  Returns:
    (program.Program, loading.Loaded whose parameters it has placed, the step
    of a run or None).

  Raises:
    UserError: it can't be read, or the recipe is not for it.
  """
  folder = hub.find(folder)
  for key, _ in overrides:
    if key.split('.')[0] in ITS_OWN:
      raise UserError(f'--config.{key}: the checkpoint has its own')
    if key.split('.')[0] in OF_TRAINING:
      raise UserError(f'--config.{key} is of training, and nothing is trained')
  if run_folder.is_one(folder):
    opened, step = run_folder.open_folder(folder, step)
  else:
    opened, step = initial.open_folder(folder, step), None
  own = config_lib.base()
  if step is not None:
    own = run_folder.load_config(folder)
  if few_shot is not None:
    config = config_of(few_shot, recipe, data)
    if step is not None:
      with config.unlocked():
        config.max_length = own.max_length
  elif recipe is not None:
    config = recipes.load(recipe)
  elif step is not None:
    config = own.copy_and_resolve_references()
  else:
    raise UserError(
      f'{folder} is no run folder: name the recipe whose evaluators judge it, '
      'with --config RECIPE, or a task, with --few_shot TASK'
    )
  own_data.with_each(config, data, whole=True)
  config = overrides_lib.apply(config, overrides)
  if opened.tokenizer is None:
    raise UserError(f'{folder} has no tokenizer: put its files there')
  with config.unlocked():
    config.model = opened.block
    config.context, config.gate = own.context, own.gate
    kind = plugins.find('models', opened.block['name'])
    if issubclass(kind, models.Counts):
      config.num_steps, config.init_from = 0, ''
    for task in config.tasks.values():
      if opened.task and opened.task['name'] == task.objective.name:
        del task['objective']  # its labels, and how its head reads
        task.objective = opened.task
    longest = opened.block.get('max_length', config.max_length)
    config.max_length = min(config.max_length, longest)
    if few_shot is not None:
      config.adapt = opened.adapt or {}
  config_lib.check(config)
  placement = placement_lib.make(config)
  program = program_lib.build(
    config, placement, opened.tokenizer, None if few_shot is None else TWO_ROWS
  )
  named = recipe is not None or few_shot is not None
  if named and not program.counts:
    _check_heads(program, opened)
  params = opened.read_all(placement.shardings)
  if program.counts:
    program.model.check(params, folder)
  loaded = loading.Loaded(
    folder,
    opened.block,
    program.model,
    params,
    opened.tokenizer,
    opened.small,
  )
  return program, loaded, step


# Features of a causal model, whose shapes make its parameters: no text is read.
TWO_ROWS = {
  'few_shot': {
    name: np.zeros((2, 2), np.int32)
    for name in ('tokens', 'segment_ids', 'positions', 'targets', 'weights')
  }
  | {name: np.zeros(2, np.int32) for name in ('index', 'valid')}
}


def config_of(task, recipe=None, data=()):
  """Returns the config whose one evaluator is a task's, locked.

  Args:
    task: see recipes.load_task.
    recipe, data: see `judge`; there may be none.

  Raises:
    UserError: there is some, or no such task.
  """
  if recipe is not None or data:
    raise UserError(
      '--few_shot has its own data, --few_shot TASK:FOLDER or '
      '--config.evaluators.TASK.data: leave out --config RECIPE and --data'
    )
  name, block = recipes.load_task(task)
  if 'data' not in block:
    raise UserError(f'--few_shot {task}: its block has no data')
  config = config_lib.base()
  config.max_length = LONGEST
  config.evaluators[name] = block
  config.tasks.few_shot = {
    'data': block['data'],
    'objective': {'name': 'causal'},
    'weight': 0.0,
  }
  return config.lock()


def need_rows(tasks):
  """Raises UserError if a task goes on from row to row, as no context does."""
  for task in tasks:
    own = task.objective
    if isinstance(own, causal.Objective) and own.kind == 'stream':
      raise UserError(
        f"task {task.name!r} is of kind='stream', and a context sees a row "
        "alone: judge it by kind='text'"
      )


def causal_task(bench, name):
  """Returns the Task of that name, see Bench.task.

  Raises:
    UserError: its objective isn't to predict each token from those before it
      alone.
  """
  task = bench.task(name)
  need_rows([task])
  own = task.objective
  beside = isinstance(own, retrieved.Objective)
  if not isinstance(own, causal.Objective) or own.prefix or beside:
    raise UserError(
      f'task {task.name!r} does not predict each token from those before it, '
      'and them alone'
    )
  return task


def counted(batch):
  """Returns which tokens of a causal batch are predicted, bool [b, l]."""
  return (batch['weights'] > 0) & (batch['valid'][:, None] > 0)


def _check_heads(program, opened):
  there = trees.flatten(opened.shapes)
  for name in trees.flatten(program.shapes):
    if name not in there:
      raise UserError(
        f'{opened.folder} has no {name}, which the objectives of the recipe '
        'need: judge it by a recipe of what it was trained for'
      )
