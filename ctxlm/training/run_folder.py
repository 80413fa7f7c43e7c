"""A run folder, opened for use: config, tokenizer, model, parameters."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax

from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import checkpoint
from ctxlm.training import program as program_lib

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


def get_tokenizer(config, workdir):
  """Returns the run's tokenizer, from its folder if it has one already."""
  folder = workdir / 'tokenizer'
  if folder.exists():
    return data_lib.load_tokenizer(folder)
  name = config.tokenizer.task or next(iter(config.tasks))
  source = plugins.build('data.sources', config.tasks[name].data)
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


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder, opened.

  Attributes:
    workdir: pathlib.Path of the run folder.
    program: ctxlm.training.program.Program, as the run was trained.
    params: of checkpoint `step`, the averaged ones where there are any.
    step: int.
  """

  workdir: Path
  program: Any
  params: Any
  step: int

  @property
  def config(self):
    """The run's config."""
    return self.program.config

  @property
  def tokenizer(self):
    """The run's tokenizer."""
    return self.program.tokenizer

  @property
  def model(self):
    """The Flax module."""
    return self.program.model

  def call(self, fn):
    """Returns `fn(model)`, compiled."""
    return jax.jit(lambda params: self.program.apply(params, fn))(self.params)


def load(workdir, step='', placement=None):
  """Opens a run folder.

  Args:
    workdir: the folder that `ctxlm train` wrote.
    step: '' for the newest checkpoint, 'best', or a number.
    placement: see ctxlm.parallel; None is what the config says.

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
  placement = placement_lib.make(config) if placement is None else placement
  program = program_lib.build(config, placement, tokenizer)
  step, _, shapes = checkpoint.find(workdir, step)
  # Placed by the rules of this machine, which may differ from the trainer's.
  abstract = jax.tree.map(
    lambda s, sharding: jax.ShapeDtypeStruct(
      s.shape, s.dtype, sharding=sharding
    ),
    shapes,
    placement.shardings(shapes),
  )
  params = checkpoint.read_params(workdir, abstract, step)
  return Run(workdir, program, params, step)
