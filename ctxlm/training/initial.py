"""How a run begins: on from its newest checkpoint, from others' parameters,
or afresh.

`config.init_from` is a list of steps, read from left to right, each of which
changes what is taken from elsewhere; what no step takes is initialised afresh:

    {'from': FOLDER}      takes what the folder has: a run folder (with 'step'),
                          a model folder, or one of Hugging Face,
                          sentence-transformers or PEFT (with 'base', the
                          folder that its adapters are around)
    {'without': PATTERN}  gives up the parameters whose path it is found in

A string is the folder of a single step. Their keys stand in config.INIT_STEPS.
"""

import collections
import contextlib
import dataclasses
import functools
import re
import sys

import jax

from ctxlm import config as config_lib
from ctxlm import plugins, trees
from ctxlm.errors import UserError
from ctxlm.families import arpa, hub, model_folder, peft
from ctxlm.families import folder as folder_lib
from ctxlm.models import adapters
from ctxlm.objectives import contrastive, vectors
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
  config, taken, state = program.config, {}, None
  program.bench.vectors_by = functools.partial(vectors_by, program.placement)
  # Mistakes come before the folder: of the data, of init_from, of evaluators.
  meta = program.meta
  if not checkpoint.steps(workdir):
    taken = choose(program)
    state = program.init(_read(taken, program) if taken else None)
    program.rehearse(state.judged)
  run_folder.agree_on_progress(workdir)
  with contextlib.ExitStack() as undo:
    # From here on the run folder is written, by its one holder.
    saved = undo.enter_context(
      checkpoint.Checkpoints(workdir, config, meta, say)
    )
    if jax.process_index() == 0:
      own = program.tokenizer
      run_folder.write(config, own, workdir, settings_of(taken, own))
    processes.barrier('workdir')
    start = 0
    if restored := saved.restore(program.abstract):
      start, state = restored
      if start < config.num_steps:
        say(f'going on from step {start} of {config.num_steps}')
      program.rehearse(state.judged)
    else:
      say(f'{sizes(program)}, {jax.device_count()} devices')
    undo.pop_all()
  return start, state, saved


def sizes(program):
  """Returns in words how many parameters there are, and are trained."""
  if program.counts:
    count = sum(x.size for x in jax.tree.leaves(program.shapes))
    return f'{count:,} parameters'
  trained, rest = trees.split(program.shapes, program.frozen)
  trained, rest = (
    sum(x.size for x in jax.tree.leaves(tree)) for tree in (trained, rest)
  )
  count = trained + rest
  held = jax.tree.leaves(program.abstract.opt_state)
  held = sum(x.size * x.dtype.itemsize for x in held)
  return (
    f'{count:,} parameters, {trained:,} of them trained '
    f'({100 * trained / count:.3g} %), {held:,} bytes of optimizer state'
  )


def open_folder(folder, step='', allow_code=(), base='', **options):
  """Opens a folder that holds a model, whoever wrote it.

  Args:
    folder: path of a run folder, a model folder, or one of Hugging Face,
      sentence-transformers or PEFT; or of a GGUF file, or an ARPA file.
    step: of a run folder, see checkpoint.find.
    allow_code: see plugins.refuse_code.
    base: see peft.open_folder.
    **options: of the model, in place of the folder's own.

  Returns:
    families.opened.Opened.

  Raises:
    UserError: it can't be read.
  """
  folder = hub.find(folder)
  if peft.is_one(folder):
    return peft.open_folder(folder, base, **options)
  need_no_base(folder, base)
  if folder.is_file() and arpa.is_one(folder):
    return arpa.open_file(folder)
  if model_folder.is_one(folder):
    return model_folder.open_folder(folder, allow_code, **options)
  if run_folder.is_one(folder):
    return run_folder.open_folder(folder, step, allow_code)[0]
  return folder_lib.open_folder(folder, **options)


def vectors_by(placement, folder, texts):
  """Returns texts' vectors float32 [n, m] by an encoder.

  Args:
    placement: where it runs.
    folder: see `open_folder`.
    texts: list of str.

  Raises:
    UserError: it can't be read, or makes no vectors.
  """
  return vectors.embedder(open_folder(folder), placement)(texts)


def need_no_base(folder, base):
  """Raises UserError if a folder that is no adapter's is given a base."""
  if base:
    raise UserError(f'{folder} is no adapter of PEFT, so it has no base')


def choose(program):
  """Returns {path: Opened} of the parameters that config.init_from takes.

  Nothing is read yet.

  Raises:
    UserError: a folder that can't be read, or is of another model or tokenizer.
  """
  taken = {}
  for step in config_lib.init_steps(program.config.init_from):
    kind = next(k for k in step if k in STEPS)
    taken = STEPS[kind](program, step, taken)
  _check_sentence(program, taken)
  ours = trees.flatten(program.shapes)
  saved = {id(x): trees.flatten(x.shapes) for x in distinct(taken)}
  for name, opened in taken.items():
    theirs = list(saved[id(opened)][name].shape)
    if theirs != list(ours[name].shape):
      raise UserError(
        f'{opened.folder} is of another model: {name} is {theirs} there, '
        f'{list(ours[name].shape)} in this config; leave it out with '
        f"{{'without': '{name}'}} in config.init_from, or change the model; "
        'the recipe finetune:FOLDER takes model and tokenizer from the folder'
      )
  return taken


def _check_sentence(program, taken):
  # Vectors without the maps behind their pooling are others.
  for opened in distinct(taken):
    maps = opened.sentence and opened.sentence.dense
    for task in program.tasks:
      compares = isinstance(task.objective, contrastive.Objective)
      if maps and compares and not task.objective.maps:
        blocks = tuple(map(dataclasses.asdict, maps))
        raise UserError(
          f'{opened.folder} has linear maps behind its pooling: train them by '
          f'config.tasks.{task.name}.objective.dense={blocks}'
        )


def _from(program, step, taken):
  own = plugins.names_code(program.config)  # which the recipe has run already
  opened = open_folder(
    step['from'], step.get('step', ''), own, step.get('base', '')
  )
  theirs, ours = opened.tokenizer, program.tokenizer
  if step.get('tokenizer', 'same') == 'same' and (
    theirs and theirs.fingerprint != ours.fingerprint
  ):
    raise UserError(
      f'{opened.folder} was trained with another tokenizer: use its own, '
      "config.tokenizer.kind='file' and config.tokenizer.path="
      f"'{opened.tokenizer_path}', or allow it with config.init_from="
      f"({{'from': '{opened.folder}', 'tokenizer': 'any'}},); the recipe "
      'finetune:FOLDER takes model and tokenizer from the folder'
    )
  _agree(opened, program)
  have = trees.flatten(opened.shapes)
  common = [name for name in trees.flatten(program.shapes) if name in have]
  if not common:
    raise UserError(
      f'{opened.folder} is of another model: no parameter in common; the '
      'recipe finetune:FOLDER takes model and tokenizer from the folder'
    )
  return taken | dict.fromkeys(common, opened)


def _agree(opened, program):
  # What an adapter adds means nothing without it, and its model little.
  if not opened.adapt:
    return
  theirs = plugins.build('models.adapters', opened.adapt)
  ours = dict(program.config.adapt)
  if theirs.scope and not adapters.alike(program.model, theirs):
    raise UserError(
      f'{opened.folder} has adapters, {opened.adapt}, and config.adapt is '
      f'{ours}: say the same, or merge them into the model first (ctxlm '
      f'convert --merge --from={opened.folder} --to=DIR) and start from DIR'
    )


def _without(program, step, taken):
  del program
  kept = {n: x for n, x in taken.items() if not re.search(step['without'], n)}
  if len(kept) == len(taken):
    raise UserError(
      f'config.init_from: {step["without"]!r} meets no parameter that the '
      'steps before it take'
    )
  return kept


STEPS = {'from': _from, 'without': _without}


def settings_of(taken, tokenizer):
  """Returns the Opened whose settings export goes by, or None.

  It is the one that most parameters are taken from. The settings hold its
  tokenizer's files: with another tokenizer they would mislead.

  Args:
    taken: see `choose`.
    tokenizer: of the run.
  """
  if not taken:
    return None
  counts = collections.Counter(map(id, taken.values()))
  most = max(distinct(taken), key=lambda opened: counts[id(opened)])
  own = most.tokenizer
  same = own is not None and own.fingerprint == tokenizer.fingerprint
  return most if same else None


def distinct(taken):
  """Returns the folders that parameters are taken from, each Opened once."""
  return list({id(opened): opened for opened in taken.values()}.values())


def _read(taken, program):
  # The parameters that are taken, read, and fresh ones for the others.
  places = trees.flatten(program.abstract.params)
  loaded, folders = {}, []
  for opened in distinct(taken):
    own = [name for name, source in taken.items() if source is opened]
    wanted = trees.nest({name: places[name] for name in own})
    loaded |= trees.flatten(opened.take(wanted))
    folders.append(str(opened.folder))
  missing = [name for name in places if name not in loaded]
  say(
    f'parameters from {", ".join(folders)}; '
    + (f'initialised afresh: {", ".join(missing)}' if missing else 'all found')
  )
  if missing:
    loaded |= program.init_some(missing)
  return trees.nest(loaded)


def say(text):
  """Prints a line on standard error, once for all processes."""
  if jax.process_index() == 0:
    print(text, file=sys.stderr, flush=True)
