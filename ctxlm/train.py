"""The training loop: `ctxlm train --config CONFIG --workdir DIR`.

The same command again goes on from the newest checkpoint. There is one loop
for every objective, model and number of devices.
"""

import functools
import math
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags

from ctxlm import checkpoint, cli, optim, parallel, plugins, tracking
from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import step as step_lib
from ctxlm.data import cache, loader
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
    )
    for name, task in config.tasks.items()
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


def train(config, workdir):
  """Trains, or goes on; returns the last metrics.

  Args:
    config: checked config.
    workdir: run folder.

  Returns:
    (exit status, {metric: float} of the last evaluation).

  Raises:
    UserError: for all that the user can mend.
  """
  config_lib.check(config)
  where = parallel.make(config)
  workdir = Path(workdir)
  _agree(config, workdir)
  tokenizer = get_tokenizer(config, workdir)
  model, tasks = build(config, tokenizer)
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
    _write(workdir / 'config.json', config_lib.to_json(config))
    if not (workdir / 'tokenizer').exists():
      tokenizer.save(workdir / 'tokenizer.new')
      os.replace(workdir / 'tokenizer.new', workdir / 'tokenizer')
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

  step_fn = where.compile(
    functools.partial(
      step_lib.train_step,
      tasks=tasks,
      apply=apply,
      tx=tx,
      schedule=schedule,
      seed=config.seed,
      accumulation=config.accumulation,
      ema_decay=config.optimizer.ema_decay,
    ),
    donate=True,
  )
  streams = {
    task.name: iter(
      loader.train_batches(
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
    )
    for task in tasks
  }
  context = Context(config, tokenizer, where, apply, tasks)
  tracker = tracking.Tracker(workdir, config, start)
  progress = tracking.Progress(config.num_steps, start)
  stop = _Stop()
  pending, tokens, clock = [], 0, time.monotonic()
  first_clock, first_step = clock, start
  results = {}
  try:
    for step in range(start, config.num_steps):
      batch = {name: next(stream) for name, stream in streams.items()}
      tokens += sum(_tokens(b) for b in batch.values())
      state, metrics = step_fn(state, where.put(batch))
      pending.append((step + 1, metrics))
      if jax.default_backend() == 'cpu' and jax.device_count() > 1:
        # Collectives of several steps in flight can dead-lock there.
        jax.block_until_ready(metrics)
      done = step + 1
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


def _tokens(batch):
  segments = batch.get('segment_ids')
  return 0 if segments is None else int((segments > 0).sum())


def _first_batch(config, task, view):
  # Two rows are enough: only shapes matter.
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


def _write(path, text):
  new = path.with_name(path.name + '.new')
  new.write_text(text)
  os.replace(new, path)


def _agree(config, workdir):
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
  import json

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


class _Stop:
  """Remembers a SIGTERM, the warning that a machine is taken away."""

  def __init__(self):
    self._asked = False
    self._several = jax.process_count() > 1
    self._before = None
    if not self._several:
      self._before = signal.signal(signal.SIGTERM, self._on_signal)

  def _on_signal(self, *_):
    self._asked = True

  def asked(self, step):
    """Whether to stop after `step`: the same answer in every process."""
    if self._several:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked

  def restore(self):
    """Puts the former signal handler back."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)


def start_jax():
  """Joins the other processes, and turns the compilation cache on."""
  F = flags.FLAGS
  asked = (F.coordinator, F.num_processes, F.process_id)
  if any(x is not None for x in asked):
    if any(x is None for x in asked):
      raise UserError(
        '--coordinator, --num_processes and --process_id belong together'
      )
    jax.distributed.initialize(*asked)
  elif _on_tpu_pod():
    jax.distributed.initialize()
  jax.config.update(
    'jax_compilation_cache_dir', str(cache.cache_dir() / 'compiled')
  )
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def _on_tpu_pod():
  # As set by the TPU VM image; the other ways to start name a coordinator.
  return len(os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1


def define_flags():
  """Defines the flags of `ctxlm train`."""
  config_flags.DEFINE_config_file('config', None, 'recipe: configs/NAME.py')
  flags.DEFINE_string('workdir', None, 'run folder')
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0')
  flags.DEFINE_integer('num_processes', None, 'how many processes there are')
  flags.DEFINE_integer('process_id', None, "this process's number, from 0")


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
  start_jax()
  status, _ = train(F.config, F.workdir)
  return status


if __name__ == '__main__':
  cli.run(sys.modules[__name__])
