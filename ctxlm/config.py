"""The config: every key, and the check that runs before any device work.

The dataclasses list every key once, and what it may be (ctxlm.ranges). A recipe
in `configs/` starts from `base()`, changes what it needs and returns it;
`check` answers a wrong key or value with one line.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import ml_collections

from ctxlm import plugins, ranges
from ctxlm.errors import UserError, reason
from ctxlm.ranges import (
  BelowOne,
  Count,
  Finite,
  Range,
  Seed,
  Whole,
  ZeroOrMore,
)


class Factors:
  """Pairs of a regular expression and a number; see ranges."""

  def holds(self, value):
    """Whether each is such a pair."""
    return all(map(self._is_pair, value))

  @staticmethod
  def _is_pair(pair):
    try:
      pattern, factor = pair
      re.compile(pattern)
      return Range('[0, inf)').holds(factor + 0.0)
    except (TypeError, ValueError, re.error):
      return False

  def words(self, value):
    """What they must be."""
    del value
    return "(regular expression, factor) pairs, such as (('heads/', 10.0),)"


Axis = Annotated[int, Range('[1, inf)', -1)]


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """The block `config.tokenizer`."""

  # Trained: bpe, wordpiece, unigram, word (what stands between spaces); or
  # file; or none, for what is no text.
  kind: Literal['bpe', 'wordpiece', 'unigram', 'word', 'file', 'none'] = 'bpe'
  vocab_size: Annotated[int, Range('[1, 4194304]')] = 8192
  path: str = ''  # with kind 'file': a tokenizer's file or folder
  special_in_data: bool = False  # whether data may spell special tokens
  task: str = ''  # the task whose text trains it; '' is the first


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """The block `config.optimizer`."""

  name: Literal['adamw', 'adafactor', 'lion', 'muon', 'sgd'] = 'adamw'
  learning_rate: ZeroOrMore = 1e-3
  schedule: Literal['cosine', 'linear', 'rsqrt', 'constant'] = 'cosine'
  warmup_steps: Whole = 100
  final_fraction: ZeroOrMore = 0.0  # of the peak rate, at the last step
  b1: BelowOne = 0.9
  b2: BelowOne = 0.999
  eps: ZeroOrMore = 1e-8
  momentum: BelowOne = 0.0  # of sgd
  weight_decay: ZeroOrMore = 0.01  # not on norms, biases and 1-d tensors
  clip_norm: ZeroOrMore = 1.0  # of the whole gradient; 0 is off
  ema_decay: BelowOne = 0.0  # of the parameters' average; 0 is off
  # (pattern, factor) pairs: the first regular expression found in a
  # parameter's path sets its learning-rate factor; 0 freezes it.
  factors: Annotated[tuple, Factors()] = ()
  # A layer's rate is times this for each layer above it, and once more: the
  # embeddings' most of all, and a head's not at all (1.0 is off).
  layer_decay: Annotated[float, Range('(0, 1]')] = 1.0
  # Steps after which one more layer is trained, from the top: heads at once,
  # then the last layer (Howard & Ruder 2018); 0 is all at once.
  unfreeze_every: Whole = 0


@dataclasses.dataclass(frozen=True)
class Parallel:
  """The block `config.parallel`."""

  # pmap (replicated parameters), or mesh
  strategy: Literal['pmap', 'mesh'] = 'pmap'
  data: Axis = -1  # devices along each mesh axis; -1 is the rest
  fsdp: Axis = 1
  tensor: Axis = 1
  sequence: Axis = 1


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """The block `config.checkpoint`."""

  every_steps: Whole = 200  # 0 saves the last step only
  keep: Count = 2  # newest ones kept
  # A metric such as 'eval/perplexity/loss': what it judges is saved too, and
  # the best of it kept.
  best: str = ''
  best_mode: Literal['min', 'max'] = 'min'


@dataclasses.dataclass(frozen=True)
class Tracking:
  """The block `config.tracking`."""

  tensorboard: bool = False
  wandb: bool = False  # offline unless WANDB_MODE says otherwise
  wandb_project: str = 'ctxlm'


@dataclasses.dataclass(frozen=True)
class Open:
  """A block whose keys plug-ins define."""


@dataclasses.dataclass(frozen=True)
class Task:
  """A block of `config.tasks`; the loop sums the tasks' losses."""

  data: Open
  objective: Open
  weight: Finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Every key that the library reads."""

  seed: Seed = 0
  num_steps: Whole = 1000
  batch_size: Count = 32  # examples a step, over all devices and hosts
  accumulation: Count = 1  # micro-batches that a step is cut into
  max_length: Count = 256  # tokens in a row
  num_workers: Annotated[int, Range('[0, 256]')] = 0  # processes; 0: threads
  log_every_steps: Count = 20
  # Whose parameters to start from: a run folder, a model folder, or one of
  # Hugging Face. Or steps, see ctxlm.training.initial: ({'from': FOLDER},
  # {'without': PATTERN}, ...). What is not taken is initialised afresh, and
  # named in the log.
  init_from: Any = dataclasses.field(
    default_factory=lambda: ml_collections.FieldReference('', field_type=object)
  )
  tasks: Open  # NAME -> {data: {name, ...}, objective: {name, ...}, weight}
  # {name, ...}: options of ctxlm.models.NAME.Model; vocab_size 0 is that of
  # the tokenizer.
  model: Open
  # {name, ...}: options of ctxlm.models.adapters.NAME.Adapter, which freezes
  # the model and trains what it adds; empty trains the model.
  adapt: Open
  # NAME -> {name, ...}: options of ctxlm.context.NAME.Context, whose
  # next-token distributions are mixed with the model's own.
  context: Open
  # Whether their weights are a gate's on the hidden state, which is trained.
  gate: bool = False
  tokenizer: Tokenizer
  optimizer: Optimizer
  parallel: Parallel
  checkpoint: Checkpoint
  # NAME -> {name, every_steps, ...}; every_steps 0 is at the end only.
  evaluators: Open
  tracking: Tracking


def base():
  """Returns the config with every key of Config.

  >>> c = base()
  >>> c.optimizer.learning_rate, c.parallel.strategy
  (0.001, 'pmap')
  """
  c = ranges.block(Config)
  c.model.name = 'transformer'
  c.lock()
  for name in OPEN:
    c[name].unlock()
  return c


OPEN = tuple(k for k, kind in ranges.hints(Config).items() if kind is Open)
# Kinds of steps of config.init_from: what else a step of the kind may say.
INIT_STEPS = {'from': ('step', 'tokenizer', 'base'), 'without': ()}


def check(config):
  """Raises UserError, one line, for a config that can't run.

  ml_collections lets pass a key misspelt inside `get_config`, and a mapping
  put in place of a block; so the whole tree is held against `base()`.

  >>> c = base()
  >>> check(c)
  Traceback (most recent call last):
  ctxlm.errors.UserError: config.tasks is empty: name at least one task
  """
  _check_block(Config, config, '')
  init_steps(config.init_from)
  if config.batch_size % config.accumulation:
    raise UserError(
      f'config.batch_size={config.batch_size} is not divisible by '
      f'config.accumulation={config.accumulation}'
    )
  if 0 < config.num_steps < config.optimizer.warmup_steps:
    raise UserError(
      f'config.optimizer.warmup_steps={config.optimizer.warmup_steps} is more '
      f'than config.num_steps={config.num_steps}: lower the former'
    )
  for key in ('tasks', 'evaluators', 'context'):
    if not isinstance(config[key], ml_collections.ConfigDict):
      raise UserError(f'config.{key} must be a block of keys')
  if not config.tasks:
    raise UserError('config.tasks is empty: name at least one task')
  for name, task in config.tasks.items():
    _check_block(Task, task, f'tasks.{name}.')
    plugins.check('data.sources', task.data, f'config.tasks.{name}.data.')
    plugins.build('data.sources', task.data)
    plugins.check(
      'objectives', task.objective, f'config.tasks.{name}.objective.'
    )
  plugins.check('models', config.model, 'config.model.')
  given = {'vocab_size': 1, 'max_length': config.max_length}
  plugins.build('models', config.model, **given)
  if config.adapt:
    plugins.check('models.adapters', config.adapt, 'config.adapt.')
    plugins.build('models.adapters', config.adapt)
  for name, block in config.context.items():
    plugins.check('context', block, f'config.context.{name}.')
  for name, block in config.evaluators.items():
    plugins.check('evaluators', block, f'config.evaluators.{name}.')
    plugins.build('evaluators', block)
  if config.tokenizer.task and config.tokenizer.task not in config.tasks:
    raise UserError(
      f'config.tokenizer.task={config.tokenizer.task!r} is no task.'
      + plugins.suggest(config.tokenizer.task, config.tasks)
    )


def init_steps(value):
  """Returns the steps of `config.init_from`: a tuple of mappings, all str.

  Args:
    value: '', a folder, or a sequence of steps, see INIT_STEPS.

  Raises:
    UserError: it is none of these, or a step isn't.
  """
  if isinstance(value, str):
    return ({'from': value},) if value else ()
  if not isinstance(value, (tuple, list)):
    raise UserError(f'config.init_from={value!r} must be a folder, or steps')
  return tuple(_init_step(step) for step in value)


def _init_step(step):
  where = f'config.init_from: {step!r}'
  if not isinstance(step, Mapping):
    raise UserError(f"{where} is no step, such as {{'from': FOLDER}}")
  kinds = [key for key in step if key in INIT_STEPS]
  if len(kinds) != 1:
    raise UserError(f'{where} needs one of the keys {", ".join(INIT_STEPS)}')
  known = (*kinds, *INIT_STEPS[kinds[0]])
  for key, value in step.items():
    if key not in known:
      raise UserError(
        f'{where}: {key!r} is unknown.{plugins.suggest(key, known)}'
      )
    if not isinstance(value, str) or not (value or key == 'step'):
      raise UserError(f'{where}: {key!r} must be a text')
  if step.get('tokenizer', 'same') not in ('same', 'any'):
    raise UserError(f"{where}: 'tokenizer' is 'same' or 'any'")
  try:
    re.compile(step.get('without', ''))
  except re.error as e:
    raise UserError(f'{where} is no regular expression: {e}') from e
  return dict(step)


def _check_block(cls, block, where):
  if where and not isinstance(block, ml_collections.ConfigDict):
    raise UserError(f'config.{where[:-1]} must be a block of keys')
  kinds = ranges.hints(cls)
  for key in block:
    if key not in kinds:
      raise UserError(
        f'config.{where}{key} is unknown.{plugins.suggest(key, kinds)}'
      )
  for key, kind in kinds.items():
    if key not in block:
      hint = '' if cls is Task else ': start from common.base()'
      raise UserError(f'config.{where}{key} is missing{hint}')
    if dataclasses.is_dataclass(kind) and kind is not Open:
      _check_block(kind, block[key], f'{where}{key}.')
  ranges.check(cls, block, f'config.{where}')


# Keys that run folders of before lack, by block: they are at their defaults.
LATER = {
  '': ('adapt', 'context', 'gate'),
  'optimizer': ('layer_decay', 'unfreeze_every'),
}


def with_later(content):
  """Returns the JSON of a config with the keys of LATER."""
  defaults = base().to_dict()
  for name, keys in LATER.items():
    own = defaults[name] if name else defaults
    old = content.get(name) if name else content
    if isinstance(old, dict):
      new = {key: own[key] for key in keys} | old
      content = content | {name: new} if name else new
  return content


def to_json(config):
  """Returns the config as text that `from_json` reads."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def from_json(text):
  """Returns a locked, checked config from `to_json`'s text.

  >>> from_json(to_json(base()))
  Traceback (most recent call last):
  ctxlm.errors.UserError: config.tasks is empty: name at least one task
  """
  try:
    config = ml_collections.ConfigDict(json.loads(text))
  except (ValueError, TypeError, KeyError, RecursionError) as e:
    raise UserError(f'it is no config: {reason(e)}') from e
  check(config)
  return config.lock()
