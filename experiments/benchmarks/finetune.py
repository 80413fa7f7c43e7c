r"""Is a recipe's fine-tuning that of transformers on PyTorch, and how fast?

python -m experiments.benchmarks.finetune \
  configs/finetune/sst2.py:all-MiniLM-L6-v2 --whole torch \
  --out runs/finetune_sst2

What the recipe begins from, fresh heads included, is written as a folder of
Hugging Face, which the class that transformers has for the objective opens.
Both are then trained on the same batches of our loader, with the same AdamW,
clipping, decay mask and schedule, in turns of two steps:

- without dropout: the losses of the first `--steps` must be equal to 1e-4;
- with the recipe's own dropout, of which each side draws its own: `--timed`
  steps, whose second of each turn is timed;
- with `--whole torch` transformers takes all steps of the recipe, and is judged
  by its evaluators: what it trained is saved by it, and opened by ctxlm. With
  `--whole ctxlm torch` both do; ours is what `ctxlm train` gives.

A ratio is torch's median time / ours. `--set KEY=VALUE` sets a key of the
recipe, such as num_steps=100.
"""

import argparse
import itertools
import json
import os
import tempfile
from pathlib import Path

import jax
import ml_collections
import numpy as np

from ctxlm import cli, plugins, recipes
from ctxlm import config as config_lib
from ctxlm.errors import UserError
from ctxlm.experiments.benchmarks import turns
from ctxlm.inference import conversion
from ctxlm.parallel import placement as placement_lib
from ctxlm.recipes import overrides
from ctxlm.training import initial, loop, run_folder
from ctxlm.training import program as program_lib

TOLERANCE = 1e-4  # of losses that must be equal


def begin(config, folder):
  """Writes what a recipe begins from, as a run and as Hugging Face's folder.

  Args:
    config: the recipe's.
    folder: pathlib.Path, whose `run` and `theirs` these are.

  Returns:
    the config, with what the objectives took from the data.

  Raises:
    UserError: a mistake in the recipe, or a parameter that the reference has
      no place for.
  """
  none = config.copy_and_resolve_references()
  with none.unlocked():
    none.num_steps, none.checkpoint.best = 0, ''
    none.evaluators = ml_collections.ConfigDict()
  loop.train(none, folder / 'run')
  _, left_out = conversion.convert(folder / 'run', to_hf=folder / 'theirs')
  if left_out:
    raise UserError(f'the reference has no place for {", ".join(left_out)}')
  return program_lib.settle(config)


class Ours:
  """Training by ctxlm, from a run folder's parameters.

  Attributes:
    program: ctxlm.training.program.Program.
    state: TrainState.
  """

  def __init__(self, config, workdir):
    placement = placement_lib.make(config, jax.devices()[:1])
    opened, _ = run_folder.open_folder(workdir)
    self.program = program_lib.build(config, placement, opened.tokenizer)
    self.state = self.program.init(opened.read_all(placement.shardings))

  def step(self, batch):
    """Takes a step; returns its loss."""
    batch = self.program.placement.put(batch)
    self.state, metrics = self.program.step(self.state, batch)
    return float(metrics['loss'])

  def scores(self, params=None):
    """Returns {'eval/NAME/METRIC': float} of the recipe's evaluators."""
    params = self.state.judged if params is None else params
    return self.program.evaluate(self.program.config.evaluators, params)

  def scores_of(self, folder):
    """Returns what `scores` does, of a Hugging Face folder's parameters."""
    opened = initial.open_folder(folder)
    return self.scores(opened.read_all(self.program.placement.shardings))


def without_dropout(config):
  """Returns the config with all of the model's rates at 0."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    for name in plugins.options(plugins.find('models', config.model.name)):
      if name.endswith('dropout'):
        config.model[name] = 0.0
  return config


def contend(config, folder, dropout):
  """Returns (Ours, the torch model, {name: batch -> loss of its step}).

  Args:
    config: the recipe's, settled.
    folder: of `begin`.
    dropout: whether with the recipe's own.
  """
  from ctxlm.experiments.benchmarks import twins

  ours = Ours(config if dropout else without_dropout(config), folder / 'run')
  (task,) = ours.program.tasks
  kind = config.tasks[task.name].objective.name
  model = twins.open_model(kind, folder / 'theirs').train(dropout)
  step = twins.make_step(model, kind, task.objective, config)
  return (
    ours,
    model,
    {
      'ctxlm': ours.step,
      'torch': lambda batch: step(batch[task.name]),
    },
  )


def compare(config, folder, count, dropout):
  """Trains both for some steps, in turns.

  Args:
    config, folder, dropout: see `contend`.
    count: steps, 4 or more.

  Returns:
    ({name: losses [count]}, {name: milliseconds}).
  """
  ours, _, steps = contend(config, folder, dropout)
  batches = list(itertools.islice(ours.program.batches(0), count))
  losses = {name: [] for name in steps}

  def call(name):
    def one(_):
      batch = batches[len(losses[name])]
      losses[name].append(steps[name](batch))

    return one

  calls = {name: call(name) for name in steps}
  turns.measure(calls, 1, untimed=count % 2 + 1)  # compiles
  return losses, turns.measure(calls, (count - 2) // 2, untimed=1)


def train(config, folder, names):
  """Trains some of both to the end, one after the other.

  Args:
    config, folder: see `contend`.
    names: of 'ctxlm' and 'torch'.

  Returns:
    {name: {metric: float}} by the recipe's evaluators.
  """
  ours, model, steps = contend(config, folder, dropout=True)
  for name in names:
    batches = itertools.islice(ours.program.batches(0), config.num_steps)
    for done, batch in enumerate(batches):
      loss = steps[name](batch)
      if done % 50 == 0:
        print(f'{name}, step {done}: loss {loss:.4f}', flush=True)
  model.save_pretrained(folder / 'trained')
  scores = {
    'ctxlm': ours.scores,
    'torch': lambda: ours.scores_of(folder / 'trained'),
  }
  return {name: scores[name]() for name in names}


def largest_difference(losses):
  """Returns the largest one of two curves."""
  ours, theirs = (np.asarray(curve) for curve in losses.values())
  return float(abs(ours - theirs).max())


def row_of(recipe, exact, own, scores):
  """Returns what results.json holds.

  Args:
    recipe: its name.
    exact, own: (losses, times) without and with dropout.
    scores: of `train`, or {}.
  """
  row = {'recipe': recipe, 'difference': largest_difference(exact[0])}
  for key, (losses, times) in (('exact', exact), ('own', own)):
    middle = {k: float(np.median(v)) for k, v in times.items()}
    row[key] = {
      'losses': losses,
      'milliseconds': middle,
      'repeats': times,
      'ratio': middle['torch'] / middle['ctxlm'],
    }
  return row | {'scores': scores}


def show(row):
  """Returns the table as text: a line for each part and contender."""
  lines = [
    f'{"dropout":8} {"":6} {"steps":>6} {"ms":>8} {"first loss":>11}'
    f' {"last 20":>8}'
  ]
  for part, label in (('exact', 'none'), ('own', "recipe's")):
    for name, losses in row[part]['losses'].items():
      lines.append(
        f'{label:8} {name:6} {len(losses):6}'
        f' {row[part]["milliseconds"][name]:8.1f} {losses[0]:11.5f}'
        f' {np.mean(losses[-20:]):8.4f}'
      )
    lines.append(f'{label:8} ratio of times {row[part]["ratio"]:.2f}')
  steps = len(row['exact']['losses']['ctxlm'])
  lines.append(
    f'largest difference of {steps} losses without dropout: '
    f'{row["difference"]:.1e}; the criterion is {TOLERANCE:.0e}'
  )
  for name, scores in row['scores'].items():
    lines += [f'{name}: {k} {value:.4f}' for k, value in scores.items()]
  return '\n'.join(lines)


def main(arguments=None):
  """Runs the benchmark; returns what results.json holds.

  Raises:
    AssertionError: losses differ by more than TOLERANCE; after results.json
      was written.
  """
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('recipe', help='NAME:CHECKPOINT, as of ctxlm train')
  parser.add_argument('--out', default='runs/finetune', help='folder')
  parser.add_argument('--steps', type=int, default=50, help='without dropout')
  parser.add_argument('--timed', type=int, default=30, help='with dropout')
  parser.add_argument(
    '--whole', nargs='*', default=[], choices=('ctxlm', 'torch')
  )
  parser.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE')
  args = parser.parse_args(arguments)
  from ctxlm.experiments.benchmarks import reference  # before torch, see there

  reference.torch.set_num_threads(turns.cores())
  reference.torch.manual_seed(0)
  config = recipes.load(args.recipe)
  overrides.apply(config, [text.split('=', 1) for text in args.set])
  config_lib.check(config)
  title = turns.machine('jax', 'torch', 'transformers')
  title += f'; load {os.getloadavg()[0]:.1f}'
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    config = begin(config, folder)
    exact = compare(config, folder, args.steps, dropout=False)
    print(f'without dropout: {largest_difference(exact[0]):.1e}', flush=True)
    own = compare(config, folder, args.timed, dropout=True)
    scores = train(config, folder, args.whole) if args.whole else {}
  row = row_of(args.recipe.partition(':')[0], exact, own, scores)
  row |= {'machine': title, 'settings': args.set}
  print(f'{title}\n{row["recipe"]}\n{show(row)}')
  out = Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  (out / 'results.json').write_text(json.dumps(row, indent=2) + '\n')
  assert row['difference'] <= TOLERANCE, 'other losses, see above'
  return row


if __name__ == '__main__':
  cli.use_huge_pages()
  main()
