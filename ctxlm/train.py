"""The training loop: `ctxlm train --config CONFIG --workdir DIR`.

The same command again goes on from the newest checkpoint. There is one loop
for every objective, model and number of devices.
"""

import functools
import itertools
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags

from ctxlm import checkpoint, cli, optim, parallel, tracking
from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import run as run_lib
from ctxlm import step as step_lib
from ctxlm.data import loader
from ctxlm.errors import UserError
from ctxlm.evaluators.context import Context
from ctxlm.preemption import Stop


def train(config, workdir, where=None):
  """Trains, or goes on; returns the last metrics.

  Args:
    config: checked config.
    workdir: run folder.
    where: parallel.Pmap or Mesh; None is what the config says.

  Returns:
    (exit status, {metric: float} of the last evaluation).

  Raises:
    UserError: for all that the user can mend.
  """
  config_lib.check(config)
  where = parallel.make(config) if where is None else where
  workdir = Path(workdir)
  run_lib.agree(config, workdir)
  tokenizer = run_lib.get_tokenizer(config, workdir)
  model, tasks = run_lib.build(config, tokenizer)
  views = {
    task.name: data_lib.open_view(
      config.tasks[task.name],
      task.objective,
      tokenizer,
      'train',
      task.objective.max_length,
    )
    for task in tasks
  }
  rows = where.rows(config.batch_size)
  apply = step_lib.make_apply(model)
  sample = {
    task.name: _first_batch(config, task, views[task.name]) for task in tasks
  }

  def init_params():
    return step_lib.init_params(
      model, tasks, sample, jax.random.key(config.seed)
    )

  shapes = jax.eval_shape(init_params)
  tx = optim.make(config.optimizer, config.num_steps, shapes)
  schedule = optim.schedule(config.optimizer, config.num_steps)
  scalars = step_lib.Scalars(
    config.seed,
    config.optimizer.learning_rate,
    config.optimizer.weight_decay,
  )

  def rule(scalars):
    block, steps = config.optimizer, config.num_steps
    rate = scalars.learning_rate
    return (
      optim.make(block, steps, shapes, rate, scalars.weight_decay),
      optim.schedule(block, steps, rate),
    )

  def init_state(params=None):
    params = init_params() if params is None else params
    return step_lib.TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=tx.init(params),
      ema=jax.tree.map(jnp.copy, params)
      if config.optimizer.ema_decay
      else None,
    )

  if config.init_from and not (workdir / 'config.json').exists():
    _, _, found = checkpoint.find(config.init_from)
    checkpoint.common(found, shapes, config.init_from)

  # From here on the run folder is written.
  if jax.process_index() == 0:
    workdir.mkdir(parents=True, exist_ok=True)
    run_lib.write(config, tokenizer, workdir)
  _barrier('workdir')

  def say(text):
    if jax.process_index() == 0:
      print(text, file=sys.stderr, flush=True)

  saved = checkpoint.Checkpoints(workdir, config, say)
  meta = {
    'data': {name: view.fingerprint for name, view in views.items()},
    'tokenizer': tokenizer.fingerprint,
  }
  abstract = jax.eval_shape(init_state)
  abstract = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    abstract,
    where.shardings(abstract),
  )
  restored = saved.restore(abstract, meta)
  if restored:
    start, state = restored
    say(f'going on from step {start} of {config.num_steps}')
  else:
    start, state = 0, where.init(init_state)
    if config.init_from:
      state = _init_from(config, state, abstract, say)
    count = sum(x.size for x in jax.tree.leaves(shapes))
    say(f'{count:,} parameters, {jax.device_count()} devices')

  options = dict(
    tasks=tasks,
    apply=apply,
    accumulation=config.accumulation,
    ema_decay=config.optimizer.ema_decay,
  )
  # Data that needs no host lets one call take all steps to the next stop.
  on_device = all(task.source is not None for task in tasks)
  if on_device:
    options |= dict(capacity=config.log_every_steps, rule=rule)
    function = functools.partial(step_lib.many_steps, **options)
    step_fn = where.compile(function, donate=True, whole=2)
  else:
    options |= dict(tx=tx, schedule=schedule, seed=config.seed)
    function = functools.partial(step_lib.train_step, **options)
    step_fn = where.compile(function, donate=True)

  def stream(task):
    if task.source is not None:
      (batch,) = loader.places(config.batch_size, config.batch_size, rows)
      return itertools.repeat(batch)
    return loader.train_batches(
      views[task.name],
      task.objective.prepare,
      seed=config.seed,
      task=task.name,
      batch_size=config.batch_size,
      start_step=start,
      num_steps=config.num_steps,
      rows=rows,
      num_workers=config.num_workers,
    )

  streams = {task.name: iter(stream(task)) for task in tasks}
  context = Context(config, tokenizer, where, apply, tasks)
  tracker = tracking.Tracker(workdir, config, start)
  progress = tracking.Progress(config.num_steps, start)
  stop = Stop()
  pending, tokens, clock = [], 0, time.monotonic()
  first_clock, first_step = clock, start
  results = {}
  try:
    done = start
    while done < config.num_steps:
      batch = {name: next(stream) for name, stream in streams.items()}
      if on_device:
        first, done = done, _next_stop(done, config)
        state, found = step_fn(state, where.put(batch), done, scalars)
        found = jax.device_get(found)
        for i in range(done - first):
          metrics = {k: v[i] for k, v in found.items()}
          pending.append((first + i + 1, metrics))
        tokens += (done - first) * len(tasks) * len(rows) * config.max_length
      else:
        tokens += sum(_tokens(b) for b in batch.values())
        state, metrics = step_fn(state, where.put(batch))
        done += 1
        pending.append((done, metrics))
      if parallel.simulated():
        jax.block_until_ready(metrics)
      last = done == config.num_steps
      save = last or _due(done, config.checkpoint.every_steps)
      due = [
        name
        for name, block in config.evaluators.items()
        if last or _due(done, block.get('every_steps', 0))
      ]
      stopping = stop.asked(done)
      if done % config.log_every_steps == 0 or last or save or due or stopping:
        values = _fetch(pending, workdir, saved)
        pending = []
        if done % config.log_every_steps == 0 or last:
          now = time.monotonic()
          rate = tokens * jax.process_count() / max(now - clock, 1e-9)
          left = (now - first_clock) / (done - first_step)
          left *= config.num_steps - done
          row = {f'train/{k}': v for k, v in values.items()}
          row['train/tokens_per_second'] = rate
          tracker.write(done, row)
          progress.show(
            done, f'loss {values["loss"]:.4f}  {rate:,.0f} tokens/s', left
          )
          tokens, clock = 0, time.monotonic()
      progress.advance(done)
      if due:
        paused = time.monotonic()
        params = state.params if state.ema is None else state.ema
        results = context.run(due, params, done)
        tracker.write(done, results)
        progress.say(
          f'step {done}: '
          + ', '.join(f'{k} {v:.4f}' for k, v in results.items())
        )
        clock += time.monotonic() - paused
      if save or stopping:
        saved.save(done, state, meta, results if due else None)
      if stopping and not last:
        saved.wait()
        progress.close()
        say(
          f'stopped at step {done} of {config.num_steps}, saved in {workdir}; '
          'run the same command again to go on'
        )
        return 0, results
    saved.wait()
  finally:
    progress.close()
    tracker.close()
    stop.restore()
  saved.close()
  if start >= config.num_steps:
    say(f'{workdir} is already at step {start}; nothing to do')
  return 0, results


def _due(step, every):
  return bool(every) and step % every == 0


def _next_stop(done, config):
  # The next step at which something is logged, saved or judged.
  every = [config.log_every_steps, config.checkpoint.every_steps]
  every += [b.get('every_steps', 0) for b in config.evaluators.values()]
  stops = [done - done % e + e for e in every if e]
  return min(*stops, config.num_steps)


def _tokens(batch):
  segments = batch.get('segment_ids')
  return 0 if segments is None else int((segments > 0).sum())


def _first_batch(config, task, view):
  # Two rows are enough: only shapes matter.
  if task.source is not None:
    batch = next(loader.places(2, 2, np.arange(2)))
    key = step_lib.data_key(config.seed, task.name, 'train')
    shapes = jax.eval_shape(lambda: step_lib.features(task, batch, key))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
  batches = loader.eval_batches(
    view,
    task.objective.prepare,
    seed=config.seed,
    task=task.name,
    batch_size=2,
    rows=np.arange(2),
  )
  return next(iter(batches))


def _fetch(pending, workdir, saved):
  """Returns the newest metrics as floats, having looked at every step's loss.

  Raises:
    UserError: the first step whose loss isn't finite.
  """
  values = {}
  for step, metrics in pending:
    loss = float(metrics['loss'])
    norm = float(metrics['grad_norm'])
    if not (math.isfinite(loss) and math.isfinite(norm)):
      saved.wait()
      kept = saved.latest()
      kept = (
        'no checkpoint yet' if kept is None else f'checkpoint {kept} is kept'
      )
      raise UserError(
        f'loss {loss} and gradient norm {norm} at step {step} are not finite; '
        f'{kept} in {workdir}: lower config.optimizer.learning_rate'
      )
    values = metrics
  return {k: float(v) for k, v in values.items()}


def _init_from(config, state, abstract, say):
  loaded = checkpoint.read_params(config.init_from, abstract.params)
  flat = {
    optim.path_name(p): x
    for p, x in jax.tree_util.tree_leaves_with_path(loaded)
  }
  fresh = []

  def pick(path, x):
    name = optim.path_name(path)
    if name not in flat:
      fresh.append(name)
    return flat.get(name, x)

  params = jax.tree_util.tree_map_with_path(pick, state.params)
  say(
    f'parameters from {config.init_from}; '
    + (f'initialised afresh: {", ".join(fresh)}' if fresh else 'all found')
  )
  # A copy: the state is donated, and two leaves can't be one array.
  ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
  return state.replace(params=params, ema=ema)


def _barrier(name):
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def define_flags():
  """Defines the flags of `ctxlm train`."""
  config_flags.DEFINE_config_file('config', None, 'recipe: configs/NAME.py')
  flags.DEFINE_string('workdir', None, 'run folder')
  cli.define_process_flags()


def main():
  """Entry point of `ctxlm train`."""
  F = flags.FLAGS
  if F.config is None:
    raise UserError('--config configs/NAME.py is needed')
  if F.workdir is None:
    raise UserError('--workdir DIR is needed: the run folder')
  try:
    config_lib.check(F.config)
  except OSError as e:  # ml_collections keeps a failed load until it is read
    path = config_flags.get_config_filename(F['config'])
    raise UserError(f'--config {path}: no such recipe') from e
  parallel.start(F.coordinator, F.num_processes, F.process_id)
  status, _ = train(F.config, F.workdir)
  return status


if __name__ == '__main__':
  cli.run(sys.modules[__name__])
