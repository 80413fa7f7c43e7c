"""How a run begins: on from its newest checkpoint, from others' parameters,
or afresh."""

import sys

import jax

from ctxlm import trees
from ctxlm.parallel import processes
from ctxlm.training import checkpoint, run_folder


def begin(program, workdir):
  """Makes the run folder, or opens it; returns what the loop starts from.

  Args:
    program: ctxlm.training.program.Program.
    workdir: pathlib.Path.

  Returns:
    (steps done, TrainState, checkpoint.Checkpoints).

  Raises:
    UserError: the folder, or what config.init_from names, is of another model.
  """
  config = program.config
  if config.init_from and not (workdir / 'config.json').exists():
    _, _, shapes = checkpoint.find(config.init_from)
    checkpoint.common(shapes, program.shapes, config.init_from)
  meta = program.meta  # reads the data: mistakes come before the folder
  # From here on the run folder is written.
  if jax.process_index() == 0:
    run_folder.write(config, program.tokenizer, workdir)
  processes.barrier('workdir')
  saved = checkpoint.Checkpoints(workdir, config, meta, say)
  restored = saved.restore(program.abstract)
  if restored:
    start, state = restored
    say(f'going on from step {start} of {config.num_steps}')
    return start, state, saved
  state = program.init()
  if config.init_from:
    state = program.init(_others(program, state.params))
  count = sum(x.size for x in jax.tree.leaves(program.shapes))
  say(f'{count:,} parameters, {jax.device_count()} devices')
  return 0, state, saved


def _others(program, fresh):
  # The parameters of config.init_from, and fresh ones that it lacks.
  source = program.config.init_from
  loaded = trees.flatten(
    checkpoint.read_params(source, program.abstract.params)
  )
  missing = [name for name in trees.flatten(fresh) if name not in loaded]
  say(
    f'parameters from {source}; '
    + (f'initialised afresh: {", ".join(missing)}' if missing else 'all found')
  )
  return trees.map_with_name(lambda name, x: loaded.get(name, x), fresh)


def say(text):
  """Prints a line on standard error, once for all processes."""
  if jax.process_index() == 0:
    print(text, file=sys.stderr, flush=True)
