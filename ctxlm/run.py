"""A run folder, opened for use: config, tokenizer, model, parameters."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from ctxlm import checkpoint, parallel, train
from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import step as step_lib
from ctxlm.errors import UserError
from ctxlm.evaluators.context import Context


@dataclasses.dataclass
class Run:
  """What `load` gives.

  Attributes:
    config, tokenizer, model, tasks: as the run was trained.
    params: of checkpoint `step`, the averaged ones where there are any.
    step: int.
    apply: `apply(params, fn)` gives `fn(model)`.
  """

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


def load(workdir, step=''):
  """Opens a run folder.

  Args:
    workdir: the folder that `ctxlm train` wrote.
    step: '' for the newest checkpoint, 'best', or a number.

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
  model, tasks = train.build(config, tokenizer)
  where = parallel.make(config)
  step, _, shapes = checkpoint.find(workdir, step)
  # Placed by the rules of this machine, which may differ from the trainer's.
  abstract = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    where.shardings(shapes),
  )
  params = checkpoint.read_params(workdir, abstract, step)
  apply = step_lib.make_apply(model)
  return Run(config, tokenizer, model, tasks, params, step, apply, where)
