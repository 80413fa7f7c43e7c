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
import importlib
import time

import jax
import numpy as np

from ctxlm import data as data_lib
from ctxlm import plugins
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import program as program_lib

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
      config.batch_size, config.tokenizer.vocab_size = 8, 300
      config.model.num_layers, config.model.hidden_size = 1, 48
    program = build(config)
    need = time_step(program, seconds)
    rows.append(show(recipe, 'the step takes', need, need))
    for workers in args.workers:
      made = time_loader(program, workers, seconds)
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
  """Returns a recipe's Program."""
  source = plugins.build('data.sources', next(iter(config.tasks.values())).data)
  tokenizer = data_lib.get_tokenizer(config.tokenizer, source)
  config.num_steps = 10**9  # batches without an end to speak of
  return program_lib.build(config, placement_lib.make(config), tokenizer)


def time_loader(program, workers, seconds):
  """Returns what the loader makes, alone on the machine."""
  program.config.num_workers = workers
  begin = time.perf_counter()
  stream = program.batches(0)
  next(stream)
  first = time.perf_counter()
  examples = tokens = 0
  while time.perf_counter() < first + seconds:
    tokens += program.num_tokens(next(stream))
    examples += program.config.batch_size
  spent = time.perf_counter() - first
  stream.close()
  return {
    'examples/s': examples / spent,
    'tokens/s': tokens / spent,
    'first batch': first - begin,
  }


def time_step(program, seconds):
  """Returns what the compiled step takes, its batch being there already."""
  stream = program.batches(0)
  batch = next(stream)
  stream.close()
  state, placed = program.init(), program.placement.put(batch)
  times = []
  while len(times) < 3 or sum(times[1:]) < seconds:
    start = time.perf_counter()
    state, metrics = program.step(state, placed)
    jax.block_until_ready((state, metrics))
    times.append(time.perf_counter() - start)
  spent = float(np.median(times[1:]))  # the first one compiles
  return {
    'examples/s': program.config.batch_size / spent,
    'tokens/s': program.num_tokens(batch) / spent,
  }


if __name__ == '__main__':
  main()
