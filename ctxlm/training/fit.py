"""Whether a run's parts fit each other, and the memory there is."""

import jax
import numpy as np

from ctxlm import config as config_lib
from ctxlm import models, objectives, trees
from ctxlm.data import views
from ctxlm.errors import UserError
from ctxlm.models import adapters
from ctxlm.models.adapters import prompt
from ctxlm.objectives import (
  causal,
  classification,
  contrastive,
  mlm,
  multiple_choice,
  retrieved,
  seq2seq,
  span,
  tagging,
)
from ctxlm.parallel import memory

READ_ROWS = (
  causal.Objective,
  contrastive.Objective,
  mlm.Objective,
  retrieved.Objective,
)
READ_PAIRS = (seq2seq.Objective,)
# Views whose rows are of several texts.
PACKED = ('windows', 'streams', 'answers', 'ctxlm.context.passages')
HAVE_HEADS = (
  classification.Objective,
  mlm.Objective,
  multiple_choice.Objective,
  span.Objective,
  tagging.Objective,
)


def check_parts(config, model, tasks):
  """Raises UserError if an objective can't be had with the model or batch.

  Args:
    config: the whole config.
    model: Flax module.
    tasks: list of objectives.task.Task.
  """
  if isinstance(model, models.Counts):
    _check_counted(config, tasks)
  for task in tasks:
    where, objective = f'config.tasks.{task.name}', task.objective
    predicts = isinstance(objective, objectives.PredictsNext)
    if predicts and not getattr(model, 'causal', True):
      raise UserError(
        f'{where}: its objective predicts each token from those before it, '
        'and a model with config.model.causal=False sees the token itself'
      )
    pooling = getattr(objective, 'pooling', '')
    if pooling == 'first' and getattr(model, 'causal', False):
      raise UserError(
        f"{where}.objective: pooling={pooling!r} is the first token's vector, "
        "which sees no other where config.model.causal=True: take 'last'"
      )
    both = getattr(model, 'encoder_decoder', False)
    if type(objective) in (READ_PAIRS if not both else READ_ROWS):
      needs, name = 'no' if both else 'an', config.model.name
      raise UserError(
        f'{where}: its objective needs {needs} encoder-decoder, unlike '
        f'config.model.name={name!r}'
      )
    if _has_head(objective) and not isinstance(model, models.HasOptions):
      raise UserError(
        f"{where}: its objective's head is built by the options of a "
        f'transformer, and config.model.name={config.model.name!r} has none'
      )
    if task.carries:
      _check_carried(config, where, model, task)
    if isinstance(objective, retrieved.Objective):
      _check_passages(config, model, where, objective)
    prompted = isinstance(model, adapters.Adapted) and isinstance(
      model.adapter, prompt.Adapter
    )
    if prompted and objective.view in PACKED:
      raise UserError(
        f'{where}: its rows are packed of several texts, and a prompt '
        "(config.adapt.name='prompt') stands before one: take 'prefix'"
      )
    if isinstance(objective, objectives.Regular) and objective.regularizer:
      objective.regularizer.check(model)
      if prompted and objective.regularizer.edits:
        raise UserError(
          f'{where}: a prompt in front of the texts (config.adapt.name='
          "'prompt') goes with a regularizer that changes no hidden states"
        )
    compares = isinstance(objective, objectives.Compares)
    alone = isinstance(objective, objectives.Embeds) and objective.fields < 3
    if compares and alone and config.batch_size < 2:
      raise UserError(
        f'{where}: its objective compares the examples of a batch, so '
        'config.batch_size=1 must be 2 or more'
      )


def _check_carried(config, where, model, task):
  name = config.model.name
  if not (isinstance(model, models.Carries) and model.carries):
    raise UserError(
      f"{where}.objective.kind='stream' carries a state from batch to batch, "
      f'and config.model.name={name!r} keeps none of any length in layers of '
      "their own: take 'lstm' or 'memory', or kind='text'"
    )
  if task.source is not None:
    raise UserError(
      f"{where}.objective.kind='stream' reads a text, and its data is made on "
      "the device: take kind='text'"
    )


def _has_head(objective):
  if type(objective) is contrastive.Objective:
    return objective.project or bool(objective.maps)
  return type(objective) in HAVE_HEADS


def _check_passages(config, model, where, objective):
  reads = isinstance(model, models.ReadsPassages)
  needs = objective.passage_length
  if not reads:
    needs = config.max_length + objective.room
  sees = getattr(model, 'context_length', None)
  if sees is not None and needs > sees:
    what = 'a passage' if reads else 'a row with its passages in front of it'
    raise UserError(
      f'{where}.objective: {what} has up to {needs} tokens, and the model sees '
      f'{sees}: raise config.model.max_length, or lower passages or '
      'passage_length'
    )


def _check_counted(config, tasks):
  where = f'config.model.name={config.model.name!r} is counted and not trained'
  causal_ = [type(task.objective) is causal.Objective for task in tasks]
  if (
    causal_ != [True]
    or tasks[0].source
    or ((tasks[0].objective.kind, tasks[0].objective.prefix) != ('text', 0))
  ):
    raise UserError(
      f'{where}, from the text of one task, with the objective causal, '
      "kind='text' and no prefix"
    )
  if config.num_steps:
    raise UserError(
      f'{where}, so it takes no steps: config.num_steps={config.num_steps} '
      'must be 0'
    )
  if config_lib.init_steps(config.init_from):
    raise UserError(f'{where}, so it begins from nothing: leave out init_from')


def check_rows(config):
  """Raises UserError if not even a batch's tokens fit into memory."""
  shape = config.batch_size // jax.process_count(), config.max_length
  memory.check(
    f'a batch of config.batch_size={config.batch_size} rows of '
    f'config.max_length={config.max_length} tokens',
    jax.ShapeDtypeStruct(shape, np.int32),
    'lower one of them',
  )


def check_streams(program):
  """Raises UserError if a text is too short to be cut into streams."""
  streams = program.config.batch_size
  for name, view in program.views.items():
    if isinstance(view, views.Contiguous) and view.size < streams * view.length:
      raise UserError(
        f'config.tasks.{name}: its text of {view.size + 1} tokens has no row '
        f'of config.max_length={view.length} for each of config.batch_size='
        f'{streams} streams: lower one of them'
      )


def check_memory(program):
  """Raises UserError if what a step holds at least doesn't fit into memory."""
  state = program.abstract
  gradient, _ = trees.split(state.params, program.frozen)
  held = {'state': state, 'gradient': gradient}
  memory.check(
    'training the model, its parameters, gradient and moments alone,',
    held,
    'make config.model smaller, or share it among more devices '
    "(config.parallel.strategy='mesh', config.parallel.fsdp)",
  )
