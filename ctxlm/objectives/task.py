"""A task: an objective on its data, and the sums of a batch of it.

Losses are sums: an objective returns numerators and denominators, which are
summed over micro-batches and devices and divided once. So a step's loss and
gradient are those of the whole batch, however it is cut.
"""

import dataclasses
import functools
import zlib
from typing import Any

import jax

from ctxlm.models import states
from ctxlm.objectives import Carries, Compares
from ctxlm.parallel.collectives import gather, own_rows, psum, whole_rows


@dataclasses.dataclass(frozen=True)
class Task:
  """One entry of `config.tasks`, built.

  Attributes:
    name: its key there.
    objective: see ctxlm.objectives.
    weight: of its loss.
    source: of data that is made on the device, see ctxlm.data; else None.
  """

  name: str
  objective: Any
  weight: float = 1.0
  source: Any = None

  @property
  def carries(self):
    """Whether its model carries a state from batch to batch."""
    return isinstance(self.objective, Carries) and self.objective.carries

  def num_tokens(self, batch):
    """Returns how many tokens a host's batch has, padding left out.

    Rows that say nothing of segments, or are made on the device, are full.
    """
    segments = batch.get('segment_ids')
    if segments is None:
      return len(batch['index']) * self.objective.max_length
    return int((segments > 0).sum())


def data_key(seed, task, split):
  """Returns the key of a task's data that is made on the device."""
  key = jax.random.key(seed)
  for name in (task, split):
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
  return key


def features(task, batch, key, step=None):
  """Returns the batch; where the task's data is made on the device, made.

  Args:
    task: Task.
    batch: features [b, ...]; of such a task 'index' int32 [b] and 'valid'.
    key: with a row's index it decides the row, wherever that is computed.
    step: of training, which a curriculum goes by; None in evaluations.
  """
  if task.source is None:
    return batch
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch['index'])
  example = functools.partial(task.source.example, step=step)
  return jax.vmap(example)(keys) | batch


def init_params(model, tasks, batch, rng):
  """Returns the parameters that the tasks' losses use.

  A head's parameters exist if an objective calls the head. The value of a
  parameter depends on `rng` and its own path only.

  Args:
    model: linen Module.
    tasks: list of Task.
    batch: {task name: features}, as shapes are all that matters.
    rng: jax key.
  """
  params = {}

  def apply(_, fn, key=None):
    rngs = {'params': rng, 'dropout': rng}
    out, variables = model.init_with_output(rngs, method=fn)
    _merge(params, variables.get('params', {}))
    return out

  for task in tasks:
    sums(task.objective, apply, None, batch[task.name], rng, None)
  return params


def _merge(into, tree):
  for key, value in tree.items():
    if isinstance(value, dict):
      _merge(into.setdefault(key, {}), value)
    else:
      into[key] = value


def sums(objective, apply, params, batch, rng, axis):
  """Returns {name: (numerator, denominator)} of this device's examples.

  See ctxlm.objectives; of one that compares, all devices' encodings are
  gathered first.
  """
  if not isinstance(objective, Compares):
    return objective.loss(apply, params, batch, rng)
  own = objective.encode(apply, params, batch, rng)
  return objective.compare(own, gather(own, axis))


def carried_sums(task, apply, params, batch, rng, axis, memory):
  """Returns (what `sums` does, what the model keeps) of this device's examples.

  Args:
    task: Task.
    apply, params, batch, rng, axis: as of `sums`.
    memory: what it kept of the batch before, {} of a task that carries nothing;
      a row that begins anew is not shown it.
  """
  if not task.carries:
    return sums(task.objective, apply, params, batch, rng, axis), memory
  fresh = states.empty(apply, params, len(batch['index']))
  memory = states.restart(memory, fresh, batch['carried'])
  return task.objective.carry(apply, params, batch, rng, memory)


def eval_step(state, batch, *, axis, task, apply, made=lambda b: b):
  """Returns ({name: (numerator, denominator)} over the global batch, memory).

  Args:
    state: (parameters, memory of the whole batch), see `carried_sums`.
    batch: features [b, ...].
    axis: pmap axis, or None.
    task: Task.
    apply: see ctxlm.models.variables.make_apply.
    made: of the batch, the features of data that is made on the device.
  """
  batch, (params, memory) = made(batch), state
  memory = own_rows(memory, batch['index'], axis)
  summed, memory = carried_sums(task, apply, params, batch, None, axis, memory)
  return psum(summed, axis), whole_rows(memory, batch['index'], axis)
