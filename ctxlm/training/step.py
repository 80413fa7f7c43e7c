"""TrainState and the pure train_step.

A step knows nothing of where it runs. It is given `axis`, the name of the
axis over which the batch is split under pmap, or None where it sees the
whole batch (one device, or jit over a mesh).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ctxlm import trees
from ctxlm.objectives import Compares
from ctxlm.objectives.task import carried_sums, data_key, features
from ctxlm.parallel.collectives import gather, own_rows, psum, whole_rows


class TrainState(struct.PyTreeNode):
  """What a checkpoint holds: all that the next step depends on."""

  step: jax.Array  # int32 scalar: steps done
  params: Any
  opt_state: Any
  ema: Any  # running average of params; None when config has none

  memory = None  # see Carrying

  @property
  def judged(self):
    """The parameters that are evaluated: averaged ones where there are any."""
    return self.params if self.ema is None else self.ema


class Carrying(TrainState):
  """A TrainState with what models carry from batch to batch."""

  memory: Any = None  # {task: flax collection of its model's, arrays [B, ...]}


def _ratio(numerator, denominator):
  return numerator / jnp.where(denominator == 0, 1.0, denominator)


def _split(batch, count):
  # Micro-batch i is rows i, i + count, ...: each device keeps its own rows.
  return jax.tree.map(
    lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch
  )


def _join(stacked):
  return jax.tree.map(
    lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), stacked
  )


def loss_and_grads(
  task, apply, params, batch, rng, axis, accumulation=1, memory=None
):
  """Returns a task's sums over the global batch, and the loss's gradient.

  Args:
    task: Task.
    apply: see make_apply.
    params: parameters.
    batch: features [b, ...] of this device.
    rng: dropout key, the same on every device.
    axis: pmap axis, or None.
    accumulation: number of micro-batches that the batch is cut into.
    memory: of this device's rows, see task.carried_sums.

  Returns:
    ({name: (numerator, denominator)} summed over devices, gradient of
    weight * sum of coefficient * numerator / denominator over `terms`, memory).
  """
  objective = task.objective
  memory = {} if memory is None else memory

  def forward(params, part, memory):
    return carried_sums(task, apply, params, part, rng, axis, memory)

  def total(summed, denominators):
    return task.weight * sum(
      coefficient * _ratio(summed[name][0], denominators[name])
      for name, coefficient in objective.terms.items()
    )

  def own_denominators(summed):
    return jax.lax.stop_gradient({k: d for k, (_, d) in summed.items()})

  def whole(params):
    summed, kept = forward(params, batch, memory)
    value = total(summed, psum(own_denominators(summed), axis))
    return value, (summed, kept)

  if accumulation == 1:
    grads, (summed, kept) = jax.grad(whole, has_aux=True)(params)
    return psum(summed, axis), psum(grads, axis), kept

  parts = _split((batch, memory), accumulation)
  zeros = jax.tree.map(jnp.zeros_like, params)
  if isinstance(objective, Compares):
    # GradCache (Gao et al. 2021, arXiv:2101.06983): encode every micro-batch,
    # differentiate the comparison by the encodings, then encode again to
    # carry that gradient to the parameters. All examples stay negatives.
    def encode(params, part):
      return objective.encode(apply, params, part[0], rng)

    _, encoded = jax.lax.scan(
      lambda _, part: (None, encode(params, part)), None, parts
    )

    def compared(own):
      summed = objective.compare(own, gather(own, axis))
      return total(summed, psum(own_denominators(summed), axis)), summed

    cached, summed = jax.grad(compared, has_aux=True, allow_int=True)(
      _join(encoded)
    )

    def backward(grads, part):
      part, cotangent = part
      _, vjp = jax.vjp(lambda p: encode(p, part), params)
      return jax.tree.map(jnp.add, grads, vjp(cotangent)[0]), None

    cached = _split_cotangent(cached, accumulation)
    grads, _ = jax.lax.scan(backward, zeros, (parts, cached))
    return psum(summed, axis), psum(grads, axis), memory

  # Denominators don't depend on parameters, so XLA drops the forward passes
  # that this line seems to ask for.
  counts = jax.vmap(lambda part: own_denominators(forward(params, *part)[0]))(
    parts
  )
  counts = psum(jax.tree.map(lambda x: x.sum(0), counts), axis)

  def one(carry, part):
    def loss(params):
      summed, kept = forward(params, *part)
      return total(summed, counts), (summed, kept)

    grads, (summed, kept) = jax.grad(loss, has_aux=True)(params)
    return jax.tree.map(jnp.add, carry, (summed, grads)), kept

  shapes = jax.eval_shape(
    lambda part: forward(params, *part)[0],
    jax.tree.map(lambda x: x[0], parts),
  )
  start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  (summed, grads), kept = jax.lax.scan(one, (start, zeros), parts)
  return psum(summed, axis), psum(grads, axis), _join(kept)


def _split_cotangent(tree, count):
  def one(x):
    if x.dtype == jax.dtypes.float0:  # of an integer encoding, e.g. index
      import numpy as np

      return np.zeros((count, x.shape[0] // count, *x.shape[1:]), x.dtype)
    return _split(x, count)

  return jax.tree.map(one, tree)


def train_step(
  state,
  batch,
  *,
  axis,
  tasks,
  apply,
  tx,
  schedule,
  seed,
  accumulation,
  ema_decay,
  frozen=frozenset(),
):
  """One update.

  Args:
    state: TrainState.
    batch: {task name: features [b, ...]}.
    axis: pmap axis, or None.
    tasks: list of Task; their weighted losses are summed.
    apply, tx, schedule: see make_apply and optim.
    seed: config.seed. The dropout key is folded from it, the step and the
      task's place; layers fold in the row of the global batch.
    accumulation: micro-batches.
    ema_decay: 0 for none.
    frozen: paths of parameters that stay as they are. They have no gradient,
      so nothing is computed for it, and no moments.

  Returns:
    (state, {metric: float32 scalar}).
  """
  key = jax.random.fold_in(jax.random.key(seed), state.step)
  grads, metrics, loss, memory = None, {}, 0.0, {}
  trained, rest = trees.split(state.params, frozen)

  def whole(params, *args, **kwargs):
    return apply(trees.join(params, rest), *args, **kwargs)

  for i, task in enumerate(tasks):
    made = jax.random.fold_in(data_key(seed, task.name, 'train'), state.step)
    own = features(task, batch[task.name], made, state.step)
    kept = state.memory[task.name] if task.carries else {}
    with jax.named_scope(task.name):  # as a trace names its operations
      summed, g, kept = loss_and_grads(
        task,
        whole,
        trained,
        own,
        jax.random.fold_in(key, i),
        axis,
        accumulation,
        own_rows(kept, own['index'], axis),
      )
    if task.carries:
      memory[task.name] = whole_rows(kept, own['index'], axis)
    grads = g if grads is None else jax.tree.map(jnp.add, grads, g)
    ratios = {name: _ratio(*pair) for name, pair in summed.items()}
    loss += task.weight * sum(
      c * ratios[name] for name, c in task.objective.terms.items()
    )
    metrics |= {f'{task.name}/{name}': r for name, r in ratios.items()}
  with jax.named_scope('optimizer'):
    updates, opt_state = tx.update(grads, state.opt_state, trained)
    trained = optax.apply_updates(trained, updates)
  ema = state.ema
  if ema_decay:
    # Few steps have been averaged at first; see optax.ema's debiasing, here
    # as a decay that grows to its value (Tan & Le 2019's TF moving average).
    d = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
    ema, same = trees.split(ema, frozen)
    ema = jax.tree.map(lambda a, b: d * a + (1 - d) * b, ema, trained)
    ema = trees.join(ema, same)
  metrics['loss'] = loss
  metrics['grad_norm'] = optax.tree.norm(grads)
  metrics['learning_rate'] = jnp.asarray(schedule(state.step), jnp.float32)
  if memory:
    state = state.replace(memory=memory)
  return state.replace(
    step=state.step + 1,
    params=trees.join(trained, rest),
    opt_state=opt_state,
    ema=ema,
  ), metrics


def many_steps(state, batch, until, seed, *, capacity, **options):
  """Updates until step `until`, in one call: all data is made on the device.

  A loop of as many turns as it takes, and not a scan of a fixed length: one
  program does every number of steps, so how a run is cut changes no bit.

  Args:
    state: TrainState.
    batch: {task name: 'index' and 'valid' [b]}, the same at every step.
    until: int32, more than state.step by `capacity` at most.
    seed: config.seed; traced, so that the runs of all seeds share a program.
    capacity: int, steps that the metrics have room for.
    **options: see train_step.

  Returns:
    (state, {metric: float32 [capacity]}, of which the first ones are used).
  """
  step = functools.partial(train_step, seed=seed, **options)
  first = state.step
  shapes = jax.eval_shape(step, state, batch)[1]
  rows = jax.tree.map(lambda s: jnp.zeros(capacity, s.dtype), shapes)

  def body(carry):
    state, rows = carry
    at = state.step - first
    state, metrics = step(state, batch)
    return state, jax.tree.map(lambda r, m: r.at[at].set(m), rows, metrics)

  return jax.lax.while_loop(
    lambda carry: carry[0].step < until, body, (state, rows)
  )
