"""A run folder: what a training writes, and opening it for use."""

import contextlib
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax

from ctxlm import config as config_lib
from ctxlm import data as data_lib
from ctxlm import files, plugins
from ctxlm.errors import UserError
from ctxlm.families import answers, model_folder, opened, sentence, small_files
from ctxlm.objectives import contrastive
from ctxlm.parallel import locks
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import checkpoint
from ctxlm.training import program as program_lib

# Of the folder: where things lie in it, and how its parameters are called.
LAYOUT = 2
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


def get_tokenizer(config, workdir):
  """Returns the run's tokenizer, from its folder once it has a checkpoint."""
  folder = workdir / 'tokenizer'
  if checkpoint.steps(workdir):
    return data_lib.load_tokenizer(folder, config.tokenizer.special_in_data)
  name = config.tokenizer.task or next(iter(config.tasks))
  source = plugins.build('data.sources', config.tasks[name].data)
  return data_lib.get_tokenizer(config.tokenizer, source)


def is_one(folder):
  """Whether a folder is a run's, of any layout."""
  path = folder / 'config.json'
  return path.is_file() and 'tasks' in files.read_json(path)


def read_config(workdir):
  """Returns a run folder's config as JSON has it.

  Args:
    workdir: pathlib.Path.

  Raises:
    UserError: it is no run folder, or one of another layout.
  """
  if model_folder.is_one(workdir):
    raise UserError(
      f'{workdir} is a model folder, which has no tasks, data or evaluators: '
      'name it in config.init_from, and a run folder here'
    )
  if not (workdir / 'config.json').exists():
    raise UserError(f'{workdir} is no run folder: it has no config.json')
  config = files.read_json(workdir / 'config.json')
  if 'tasks' not in config:
    raise UserError(f'{workdir} is no run folder: its config.json has no tasks')
  layout = config.pop('layout', 1)
  if layout != LAYOUT:
    raise UserError(
      f'{workdir} is a run folder of layout {layout}, and this is for '
      f'{LAYOUT}: train it anew, in another folder'
    )
  return config_lib.with_later(config)


def agree(config, workdir):
  """Raises UserError if the run folder belongs to another config.

  One that holds no step yet belongs to none: its config may be corrected.
  """
  odd = sorted(set(str(workdir)) & set('*?[]'))
  if odd:  # Orbax looks for its files by patterns
    raise UserError(
      f'--workdir {workdir}: name a folder without {" ".join(odd)}, which are '
      'patterns of file names'
    )
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f'--workdir {workdir} is a file; name a folder')
  if not (workdir / 'config.json').exists() and not model_folder.is_one(
    workdir
  ):
    there = workdir.iterdir() if workdir.is_dir() else ()
    mine = {locks.NAME, 'checkpoints'}  # made before the config
    if checkpoint.steps(workdir) or any(
      p.name not in mine and not files.is_temporary(p) for p in there
    ):
      raise UserError(
        f'--workdir {workdir} holds other files and no run; use an empty one'
      )
    return
  old = read_config(workdir)
  if is_unbegun(workdir):
    return
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


def held(workdir):
  """Returns a context that holds the folder for its one trainer.

  Before anything is made for it, and before Orbax, which clears away what it
  takes for a dead run's saves. Process 0 holds it for all.
  """
  if jax.process_index():
    return contextlib.nullcontext()
  return locks.held(workdir, 'trains')


def is_unbegun(workdir):
  """Whether nothing was trained in a folder, whatever a run has left there."""
  return not model_folder.is_one(workdir) and not (
    checkpoint.steps(workdir) or (workdir / 'damaged').exists()
  )


def agree_on_progress(workdir):
  """Raises UserError if what was trained in the run folder is no longer there.

  To begin anew would forget the metrics of steps whose checkpoints are gone.
  """
  if checkpoint.steps(workdir):
    return
  damaged = workdir / 'damaged'
  if damaged.is_dir() and any(damaged.iterdir()):
    gone = f'its checkpoints are in {damaged}'
  elif (workdir / 'metrics.jsonl').exists() and not (
    workdir / 'checkpoints'
  ).is_dir():
    gone = 'its folder checkpoints is gone'
  else:
    return
  raise UserError(
    f'{workdir} was trained, but {gone}: put them back, use another --workdir, '
    'or remove metrics.jsonl and damaged to begin anew'
  )


def _differences(old, new, where=''):
  differences = []
  for key in sorted({*old, *new}):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      differences += _differences(a, b, f'{where}{key}.')
    elif a != b:
      differences.append((f'{where}{key}', a, b))
  return differences


def write(config, tokenizer, workdir, reference=None):
  """Makes the folder, and writes config, tokenizer and settings, each at once.

  Args:
    config: the whole config.
    tokenizer: the run's Tokenizer.
    workdir: pathlib.Path.
    reference: families.opened.Opened whose settings go with the run, or None.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  content = {'layout': LAYOUT} | json.loads(config_lib.to_json(config))
  text = json.dumps(content, indent=2) + '\n'
  files.write_text(workdir / 'config.json', text)
  parts = {'tokenizer': tokenizer.save}
  if reference and reference.small:
    parts[model_folder.REFERENCE] = functools.partial(_fill, reference)
  begun = bool(checkpoint.steps(workdir))
  for name, fill in parts.items():
    if begun and (workdir / name).exists():
      continue
    with files.new_folder(workdir / name, over=True) as new:
      fill(new)


def _fill(reference, folder):
  small_files.copy_small(reference.small, folder)
  size = reference.block['hidden_size']
  sentence.restate(folder, reference.sentence, size)


def open_folder(workdir, step='', allow_code=()):
  """Opens a run folder; see families.opened.Opened.

  Args:
    workdir: pathlib.Path.
    step: '' for the newest checkpoint, 'best', or a number.
    allow_code: see plugins.refuse_code.

  Returns:
    (Opened, the number of the step).

  Raises:
    UserError: it is no run folder, or has no such checkpoint.
  """
  config = load_config(workdir, allow_code)
  tokenizer = data_lib.load_tokenizer(
    workdir / 'tokenizer', config.tokenizer.special_in_data
  )
  step, _, shapes = checkpoint.find(workdir, step)
  block = config.model.to_dict()
  known = plugins.options(plugins.find('models', block['name']))
  if not block.get('vocab_size'):
    block['vocab_size'] = tokenizer.vocab_size
  if 'max_length' in known:
    block.setdefault('max_length', config.max_length)
  small = workdir / model_folder.REFERENCE
  small = small if small.is_dir() else None
  return opened.Opened(
    workdir,
    block,
    shapes,
    lambda abstract: checkpoint.read_params(workdir, abstract, step),
    tokenizer,
    workdir / 'tokenizer',
    small,
    sentence_of(config, small),
    answers.of_config(config.tasks),
    config.adapt.to_dict() or None,
  ), step


def load_config(workdir, allow_code=()):
  """Returns a run folder's config, checked; see read_config.

  Raises:
    UserError: as there, or it names code that isn't allowed; see
      plugins.refuse_code.
  """
  content, path = read_config(workdir), workdir / 'config.json'
  plugins.refuse_code(content, path, allow_code)
  try:
    return config_lib.from_json(json.dumps(content))
  except UserError as e:
    raise UserError(f'{path}: {e}') from e


def sentence_of(config, small):
  """Returns how a run makes sentence vectors, or None.

  That is how its contrastive task trained them, and what the reference that
  it started from does beside, such as the normalisation.

  Args:
    config: of the run.
    small: folder with the reference's settings, or None.
  """
  own = sentence.read(small) if small else None
  for task in config.tasks.values():
    kind = plugins.find('objectives', task.objective.name)
    if issubclass(kind, contrastive.Objective):
      objective = plugins.build('objectives', task.objective)
      if objective.pooling not in sentence.POOLINGS:
        return None
      limit, pooling = config.max_length, objective.pooling
      own = own or sentence.Sentence(pooling, max_length=limit)
      return dataclasses.replace(own, pooling=pooling, dense=objective.maps)
  # Linear maps that no task trains are not taken.
  return None if own and own.dense else own


@dataclasses.dataclass(frozen=True)
class Run:
  """A run folder, opened.

  Attributes:
    workdir: pathlib.Path of the run folder.
    program: ctxlm.training.program.Program, as the run was trained.
    params: of checkpoint `step`, the averaged ones where there are any.
    step: int.
    opened: ctxlm.families.opened.Opened, as it was read from.
  """

  workdir: Path
  program: Any
  params: Any
  step: int
  opened: Any

  @property
  def config(self):
    """The run's config."""
    return self.program.config

  @property
  def tokenizer(self):
    """The run's tokenizer."""
    return self.program.tokenizer

  @property
  def model(self):
    """The Flax module."""
    return self.program.model


def load(workdir, step='', placement=None, allow_code=()):
  """Opens a run folder.

  Args:
    workdir: the folder that `ctxlm train` wrote.
    step: '' for the newest checkpoint, 'best', or a number.
    placement: see ctxlm.parallel; None is what the config says.
    allow_code: see plugins.refuse_code.

  Raises:
    UserError: it is no run folder, or has no such checkpoint.
  """
  workdir = Path(workdir)
  config = load_config(workdir, allow_code)
  opened_run, step = open_folder(workdir, step, allow_code)
  placement = placement_lib.make(config) if placement is None else placement
  program = program_lib.build(config, placement, opened_run.tokenizer)
  # Placed by the rules of this machine, which may differ from the trainer's.
  return Run(
    workdir, program, opened_run.read_all(placement.shardings), step, opened_run
  )
