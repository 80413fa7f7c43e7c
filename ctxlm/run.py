"""A run folder, opened for use: config, tokenizer, model, parameters."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax

from ctxlm import checkpoint, parallel, plugins
from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import step as step_lib
from ctxlm.errors import UserError
from ctxlm.evaluators.context import Context

# Keys that a resumed run may change: they don't touch what was learned.
FREE = (
  'num_steps',
  'log_every_steps',
  'num_workers',
  'parallel',
  'checkpoint',
  'evaluators',
  'tracking',
  'accumulation',
)


def build(config, tokenizer):
  """Returns (model, [Task]) of a config."""
  block = config.model.to_dict()
  if not block.get('vocab_size'):
    block['vocab_size'] = tokenizer.vocab_size
  elif block['vocab_size'] < tokenizer.vocab_size:
    raise UserError(
      f'the tokenizer has {tokenizer.vocab_size} tokens, more than '
      f'config.model.vocab_size={block["vocab_size"]}: raise it, or leave it '
      'at 0'
    )
  model = plugins.build('models', block, max_length=config.max_length)
  if getattr(model, 'max_length', config.max_length) < config.max_length:
    raise UserError(
      f'config.max_length={config.max_length} is more than '
      f'config.model.max_length={model.max_length}'
    )
  tasks = [
    step_lib.Task(
      name,
      plugins.build(
        'objectives',
        task.objective,
        tokenizer=tokenizer,
        max_length=config.max_length,
      ),
      float(task.weight),
      source if getattr(source, 'on_device', False) else None,
    )
    for name, task in config.tasks.items()
    for source in [plugins.build('data', task.data)]
  ]
  return model, tasks


def get_tokenizer(config, workdir):
  """Returns the run's tokenizer, from its folder if it has one already."""
  folder = workdir / 'tokenizer'
  if folder.exists():
    return data_lib.load_tokenizer(folder)
  name = config.tokenizer.task or next(iter(config.tasks))
  source = plugins.build('data', config.tasks[name].data)
  return data_lib.get_tokenizer(config.tokenizer, source)


def agree(config, workdir):
  """Raises UserError if the run folder belongs to another config."""
  path = workdir / 'config.json'
  if not path.exists():
    if workdir.is_dir() and any(workdir.iterdir()):
      raise UserError(
        f'--workdir {workdir} holds other files and no run; use an empty one'
      )
    if workdir.exists() and not workdir.is_dir():
      raise UserError(f'--workdir {workdir} is a file; name a folder')
    return
  try:
    old = json.loads(path.read_text())
  except ValueError as e:
    raise UserError(f'{path} is not JSON; use another --workdir') from e
  new = json.loads(config_lib.to_json(config))
  for key in FREE:
    old.pop(key, None), new.pop(key, None)
  differs = _differences(old, new)
  if differs:
    key, was, now = differs[0]
    raise UserError(
      f'{workdir} was started with config.{key}={was!r}, not {now!r}; use '
      'another --workdir, or put it back'
    )


def _differences(old, new, where=''):
  found = []
  for key in sorted({*old, *new}):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      found += _differences(a, b, f'{where}{key}.')
    elif a != b:
      found.append((f'{where}{key}', a, b))
  return found


def write(config, tokenizer, workdir):
  """Makes the folder, and writes its config and tokenizer, each at once."""
  workdir.mkdir(parents=True, exist_ok=True)
  new = workdir / 'config.json.new'
  new.write_text(config_lib.to_json(config))
  os.replace(new, workdir / 'config.json')
  if not (workdir / 'tokenizer').exists():
    tokenizer.save(workdir / 'tokenizer.new')
    os.replace(workdir / 'tokenizer.new', workdir / 'tokenizer')


@dataclasses.dataclass
class Run:
  """What `load` gives.

  Attributes:
    workdir: pathlib.Path of the run folder.
    config, tokenizer, model, tasks: as the run was trained.
    params: of checkpoint `step`, the averaged ones where there are any.
    step: int.
    apply: `apply(params, fn)` gives `fn(model)`.
  """

  workdir: Path
  config: Any
  tokenizer: Any
  model: Any
  tasks: list
  params: Any
  step: int
  apply: Any
  where: Any

  def context(self):
    """Returns the evaluators' Context."""
    return Context(
      self.config, self.tokenizer, self.where, self.apply, self.tasks
    )

  def call(self, fn):
    """Returns `fn(model)`, compiled."""
    return jax.jit(lambda params: self.apply(params, fn))(self.params)


def load(workdir, step='', where=None):
  """Opens a run folder.

  Args:
    workdir: the folder that `ctxlm train` wrote.
    step: '' for the newest checkpoint, 'best', or a number.
    where: parallel.Pmap or Mesh; None is what the config says.

  Raises:
    UserError: it is no run folder, or has no such checkpoint.
  """
  if workdir is None:
    raise UserError('--workdir DIR is needed: the run folder')
  workdir = Path(workdir)
  path = workdir / 'config.json'
  if not path.exists():
    raise UserError(f'{workdir} is no run folder: it has no config.json')
  config = config_lib.from_json(path.read_text())
  tokenizer = data_lib.load_tokenizer(workdir / 'tokenizer')
  model, tasks = build(config, tokenizer)
  where = parallel.make(config) if where is None else where
  step, _, shapes = checkpoint.find(workdir, step)
  # Placed by the rules of this machine, which may differ from the trainer's.
  abstract = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    where.shardings(shapes),
  )
  params = checkpoint.read_params(workdir, abstract, step)
  apply = step_lib.make_apply(model)
  return Run(
    workdir, config, tokenizer, model, tasks, params, step, apply, where
  )
