"""Does the loader keep up with the training step?

python -m experiments.benchmarks.loader

For each recipe: examples and tokens a second that the loader makes, with 0
and 2 worker processes, and those that the training step takes on this
machine. The loader is timed alone, from the second batch on; the first one's
delay, with the workers' start, has its own column. Tokens are those that are
not padding, of all views of an example.

Criterion: the loader makes more than the step takes, without workers.
`--smoke` takes a few batches.
"""

import argparse
import functools
import importlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import data as data_lib
from ctxlm import optim, parallel, plugins
from ctxlm import run as run_lib
from ctxlm import step as step_lib
from ctxlm.data import loader

RECIPES = ('quickstart_causal', 'quickstart_mlm', 'quickstart_contrastive')
COLUMNS = ('examples/s', 'tokens/s', 'first batch', 'x step')


def main(arguments=None):
  """Prints the table; returns its rows as dicts."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--recipes', nargs='+', default=list(RECIPES))
  parser.add_argument('--workers', nargs='+', type=int, default=[0, 2])
  parser.add_argument('--seconds', type=float, default=5.0, help='a cell')
  parser.add_argument('--smoke', action='store_true', help='a few batches')
  args = parser.parse_args(arguments)
  seconds = 0.05 if args.smoke else args.seconds
  print(f'{"":<42}' + ''.join(f'{c:>13}' for c in COLUMNS))
  rows = []
  for recipe in args.recipes:
    config = importlib.import_module(f'configs.{recipe}').get_config()
    if args.smoke:
      config.batch_size = 8
    model, task, view = build(config)
    need = time_step(config, model, task, view, seconds)
    rows.append(show(recipe, 'the step takes', need, need))
    for workers in args.workers:
      made = time_loader(config, task, view, workers, seconds)
      rows.append(show(recipe, f'{workers} workers make', made, need))
  return rows


def show(recipe, what, speed, need):
  """Prints one row of the table and returns it."""
  ratio = speed['examples/s'] / need['examples/s']
  first = f'{speed["first batch"]:.2f} s' if 'first batch' in speed else ''
  print(
    f'{recipe + ", " + what:<42}{speed["examples/s"]:>13,.0f}'
    f'{speed["tokens/s"]:>13,.0f}{first:>13}{ratio:>13.1f}',
    flush=True,
  )
  return {'recipe': recipe, 'what': what, 'x step': ratio, **speed}


def build(config):
  """Returns a recipe's model, first task and training view."""
  name = next(iter(config.tasks))
  source = plugins.build('data', config.tasks[name].data)
  tokenizer = data_lib.get_tokenizer(config.tokenizer, source)
  model, tasks = run_lib.build(config, tokenizer)
  view = data_lib.open_view(
    config.tasks[name],
    tasks[0].objective,
    tokenizer,
    'train',
    tasks[0].objective.max_length,
  )
  return model, tasks[0], view


def batches(config, task, view, workers=0):
  """Returns the task's training batches, without an end to speak of."""
  return loader.train_batches(
    view,
    task.objective.prepare,
    seed=config.seed,
    task=task.name,
    batch_size=config.batch_size,
    start_step=0,
    num_steps=10**9,
    rows=np.arange(config.batch_size),
    num_workers=workers,
  )


def time_loader(config, task, view, workers, seconds):
  """Returns what the loader makes, alone on the machine."""
  begin = time.perf_counter()
  stream = batches(config, task, view, workers)
  next(stream)
  first = time.perf_counter()
  examples = tokens = 0
  while time.perf_counter() < first + seconds:
    batch = next(stream)
    examples += config.batch_size
    tokens += int((batch['segment_ids'] > 0).sum())
  spent = time.perf_counter() - first
  stream.close()
  return {
    'examples/s': examples / spent,
    'tokens/s': tokens / spent,
    'first batch': first - begin,
  }


def time_step(config, model, task, view, seconds):
  """Returns what the compiled step takes, its batch being there already."""
  stream = batches(config, task, view)
  batch = {task.name: next(stream)}
  stream.close()
  where = parallel.make(config)
  rng = jax.random.key(config.seed)

  def init_params():
    return step_lib.init_params(model, [task], batch, rng)

  tx = optim.make(
    config.optimizer, config.num_steps, jax.eval_shape(init_params)
  )

  def init_state():
    params = init_params()
    return step_lib.TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=tx.init(params),
      ema=None,
    )

  step = where.compile(
    functools.partial(
      step_lib.train_step,
      tasks=[task],
      apply=step_lib.make_apply(model),
      tx=tx,
      schedule=optim.schedule(config.optimizer, config.num_steps),
      seed=config.seed,
      accumulation=config.accumulation,
      ema_decay=0.0,
    ),
    donate=True,
  )
  state, placed = where.init(init_state), where.put(batch)
  times = []
  while len(times) < 3 or sum(times[1:]) < seconds:
    start = time.perf_counter()
    state, metrics = step(state, placed)
    jax.block_until_ready((state, metrics))
    times.append(time.perf_counter() - start)
  spent = float(np.median(times[1:]))  # the first one compiles
  tokens = int((batch[task.name]['segment_ids'] > 0).sum())
  return {
    'examples/s': config.batch_size / spent,
    'tokens/s': tokens / spent,
  }


if __name__ == '__main__':
  main()
