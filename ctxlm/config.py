"""The config: every key, and the check that runs before any device work.

`base()` lists every key once. A recipe in `configs/` starts from it, changes
what it needs and returns it; `load` reads a recipe with the command line's
overrides; `check` answers a wrong key or value with one line.
"""

import json
import math
import re
from collections.abc import Mapping

import ml_collections

from ctxlm import plugins
from ctxlm.errors import UserError


def base():
  """Returns the config with every key that the library reads.

  >>> c = base()
  >>> c.optimizer.learning_rate, c.parallel.strategy
  (0.001, 'pmap')
  """
  c = ml_collections.ConfigDict()
  c.seed = 0
  c.num_steps = 1000
  c.batch_size = 32  # examples a step, over all devices and hosts
  c.accumulation = 1  # micro-batches that a step is cut into
  c.max_length = 256  # tokens in a row
  c.num_workers = 0  # loader processes; 0 uses threads
  c.log_every_steps = 20
  # Whose parameters to start from: a run folder, a model folder, or one of
  # Hugging Face. Or steps, see ctxlm.training.initial: ({'from': FOLDER},
  # {'without': PATTERN}, ...). What is not taken is initialised afresh, and
  # named in the log.
  c.init_from = ml_collections.FieldReference('', field_type=object)

  # NAME -> {data: {name, ...}, objective: {name, ...}, weight}; the loop sums
  # the tasks' losses.
  c.tasks = ml_collections.ConfigDict()
  # {name, ...}: options of ctxlm.models.NAME.Model; vocab_size 0 is that of
  # the tokenizer.
  c.model = ml_collections.ConfigDict({'name': 'transformer'})

  c.tokenizer = ml_collections.ConfigDict()
  # Trained: bpe, wordpiece, unigram; or file; or none, for what is no text.
  c.tokenizer.kind = 'bpe'
  c.tokenizer.vocab_size = 8192
  c.tokenizer.path = ''  # with kind 'file': a tokenizer's file or folder
  c.tokenizer.special_in_data = False  # whether data may spell special tokens
  c.tokenizer.task = ''  # the task whose text trains it; '' is the first

  c.optimizer = ml_collections.ConfigDict()
  c.optimizer.name = 'adamw'  # adamw, adafactor, lion, muon, sgd
  c.optimizer.learning_rate = 1e-3
  c.optimizer.schedule = 'cosine'  # cosine, linear, rsqrt, constant
  c.optimizer.warmup_steps = 100
  c.optimizer.final_fraction = 0.0  # of the peak rate, at the last step
  c.optimizer.b1 = 0.9
  c.optimizer.b2 = 0.999
  c.optimizer.eps = 1e-8
  c.optimizer.momentum = 0.0  # of sgd
  c.optimizer.weight_decay = 0.01  # not on norms, biases and 1-d tensors
  c.optimizer.clip_norm = 1.0  # of the whole gradient; 0 is off
  c.optimizer.ema_decay = 0.0  # of the parameters' average; 0 is off
  # (pattern, factor) pairs: the first regular expression found in a
  # parameter's path sets its learning-rate factor; 0 freezes it.
  c.optimizer.factors = ()

  c.parallel = ml_collections.ConfigDict()
  c.parallel.strategy = 'pmap'  # pmap (replicated parameters), or mesh
  c.parallel.data = -1  # devices along each mesh axis; -1 is the rest
  c.parallel.fsdp = 1
  c.parallel.tensor = 1
  c.parallel.sequence = 1

  c.checkpoint = ml_collections.ConfigDict()
  c.checkpoint.every_steps = 200  # 0 saves the last step only
  c.checkpoint.keep = 2  # newest ones kept
  # A metric such as 'eval/perplexity/loss'; its best checkpoint is kept too.
  c.checkpoint.best = ''
  c.checkpoint.best_mode = 'min'

  # NAME -> {name, every_steps, ...}; every_steps 0 is at the end only.
  c.evaluators = ml_collections.ConfigDict()

  c.tracking = ml_collections.ConfigDict()
  c.tracking.tensorboard = False
  c.tracking.wandb = False  # offline unless WANDB_MODE says otherwise
  c.tracking.wandb_project = 'ctxlm'
  c.lock()
  for name in OPEN:
    c[name].unlock()
  return c


OPEN = ('tasks', 'model', 'evaluators')  # blocks whose keys plug-ins define
CHOICES = {
  'tokenizer.kind': ('bpe', 'wordpiece', 'unigram', 'file', 'none'),
  'optimizer.name': ('adamw', 'adafactor', 'lion', 'muon', 'sgd'),
  'optimizer.schedule': ('cosine', 'linear', 'rsqrt', 'constant'),
  'parallel.strategy': ('pmap', 'mesh'),
  'checkpoint.best_mode': ('min', 'max'),
}
# Kinds of steps of config.init_from: what else a step of the kind may say.
INIT_STEPS = {'from': ('step', 'tokenizer'), 'without': ()}
POSITIVE = ('batch_size', 'accumulation', 'max_length', 'log_every_steps')


def check(config):
  """Raises UserError, one line, for a config that can't run.

  ml_collections lets pass a key misspelt inside `get_config`, and a mapping
  put in place of a block; so the whole tree is held against `base()`.

  >>> c = base()
  >>> check(c)
  Traceback (most recent call last):
  ctxlm.errors.UserError: config.tasks is empty: name at least one task
  """
  schema = base()
  _check_block(schema, config, '')
  for path, known in CHOICES.items():
    value = _get(config, path)
    if value not in known:
      raise UserError(
        f'config.{path}={value!r} is unknown.{plugins.suggest(value, known)}'
      )
  for path in POSITIVE:
    if _get(config, path) < 1:
      raise UserError(f'config.{path} must be 1 or more')
  init_steps(config.init_from)
  if config.num_steps < 0:
    raise UserError('config.num_steps must be 0 or more')
  if config.batch_size % config.accumulation:
    raise UserError(
      f'config.batch_size={config.batch_size} is not divisible by '
      f'config.accumulation={config.accumulation}'
    )
  if not config.tasks:
    raise UserError('config.tasks is empty: name at least one task')
  for name, task in config.tasks.items():
    where = f'tasks.{name}'
    keys = ('data', 'objective', 'weight')
    for key in task:
      if key not in keys:
        raise UserError(
          f'config.{where}.{key} is unknown.{plugins.suggest(key, keys)}'
        )
    for key in keys:
      if key not in task:
        raise UserError(f'config.{where} needs {key!r}')
    plugins.check('data.sources', task.data, f'{where}.data')
    plugins.check('objectives', task.objective, f'{where}.objective')
    if not math.isfinite(task.weight):
      raise UserError(f'config.{where}.weight must be finite')
  plugins.check('models', config.model, 'model')
  for name, block in config.evaluators.items():
    plugins.check('evaluators', block, f'evaluators.{name}')
    every = plugins.own('evaluators', block)['every_steps']
    if not _same_type(0, every) or every < 0:
      raise UserError(
        f'config.evaluators.{name}.every_steps={every!r} must be a whole '
        'number, 0 or more'
      )
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


def _get(config, path):
  for key in path.split('.'):
    config = config[key]
  return config


def _check_block(schema, block, where):
  for key in block:
    if key not in schema:
      raise UserError(
        f'config.{where}{key} is unknown.{plugins.suggest(key, schema)}'
      )
  for key in schema:
    path = f'{where}{key}'
    if key not in block:
      raise UserError(f'config.{path} is missing: start from common.base()')
    wanted, value = schema[key], block[key]
    if isinstance(wanted, ml_collections.ConfigDict):
      if not isinstance(value, ml_collections.ConfigDict):
        raise UserError(f'config.{path} must be a block of keys')
      if path not in OPEN:
        _check_block(wanted, value, f'{path}.')
    elif path != 'init_from' and not _same_type(wanted, value):
      raise UserError(
        f'config.{path}={value!r} must be of type {type(wanted).__name__}'
      )


def _same_type(wanted, value):
  if isinstance(wanted, bool) or isinstance(value, bool):
    return isinstance(wanted, bool) and isinstance(value, bool)
  if isinstance(wanted, float):
    return isinstance(value, (int, float))
  if isinstance(wanted, (tuple, list)):
    return isinstance(value, (tuple, list))
  return isinstance(value, type(wanted))


def to_json(config):
  """Returns the config as text that `from_json` reads."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def from_json(text):
  """Returns a locked, checked config from `to_json`'s text.

  >>> from_json(to_json(base()))
  Traceback (most recent call last):
  ctxlm.errors.UserError: config.tasks is empty: name at least one task
  """
  config = ml_collections.ConfigDict(json.loads(text))
  check(config)
  return config.lock()
