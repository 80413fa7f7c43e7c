"""A checkpoint opened, whoever wrote it: a run folder or a reference's."""

import dataclasses
from pathlib import Path
from typing import Any

from ctxlm import data as data_lib
from ctxlm import plugins
from ctxlm.data.tokenizers import files as tokenizer_files
from ctxlm.errors import UserError
from ctxlm.families import files, sentence
from ctxlm.families import folder as folder_lib
from ctxlm.training import run_folder as run_lib

KEPT = 'huggingface'  # in a run folder: small files of where it came from


@dataclasses.dataclass(frozen=True)
class Loaded:
  """What `load` gives.

  Attributes:
    folder: what was opened.
    block: config block of the model, as `config.model`.
    model, params, tokenizer: as ctxlm.load gives them.
    small: folder with the reference's settings, or None.
    sentence: families.sentence.Sentence, or None.
    run: the run folder's Run, or None.
  """

  folder: Path
  block: dict
  model: Any
  params: Any
  tokenizer: Any
  small: Path | None = None
  sentence: Any = None
  run: Any = None


def load(folder, placement=None, step='', **options):
  """Opens a run folder, a Hugging Face or a sentence-transformers folder.

  Args:
    folder: path.
    placement: parallel.Mesh or Pmap whose rules place the parameters; None is
      what the run's config says, or the first device.
    step: of a run folder, see checkpoint.find.
    **options: of the model, in place of the folder's own.

  Raises:
    UserError: it can't be read.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f'no folder {folder}')
  if is_run(folder):
    run = run_lib.load(folder, step, placement)
    block = run.config.model.to_dict() | options
    block.setdefault('vocab_size', 0)
    block['vocab_size'] = run.model.vocab_size
    small = folder / KEPT
    small = small if small.is_dir() else None
    return Loaded(
      folder,
      block,
      run.model.clone(**options) if options else run.model,
      run.params,
      run.tokenizer,
      small,
      sentence.read(small) if small else None,
      run,
    )
  pooled = sentence.read(folder)
  inner = folder / pooled.path if pooled else folder
  block, params = folder_lib.read(
    inner, placement.shardings if placement else None, **options
  )
  tokenizer = read_tokenizer(inner, block['vocab_size'])
  model = plugins.build('models', block)
  return Loaded(folder, block, model, params, tokenizer, folder, pooled)


def is_run(folder):
  """Whether a folder is a run's."""
  path = folder / 'config.json'
  return path.is_file() and 'tasks' in files.read_json(path)


def need_tokenizer(found):
  """Raises UserError if a Loaded has no tokenizer."""
  if found.tokenizer is None:
    raise UserError(f'{found.folder} has no tokenizer: put its files there')


def trained_sentence(run):
  """Returns how a run trained sentence vectors; None if it didn't."""
  for task in run.program.tasks:
    o = task.objective
    if hasattr(o, 'embed') and o.pooling in sentence.POOLINGS:
      return sentence.Sentence(o.pooling, max_length=o.max_length)
  return None


def read_tokenizer(folder, vocab_size):
  """Returns a folder's tokenizer, None where it has no file of one.

  Raises:
    UserError: it has more tokens than the embedding has rows.
  """
  if not tokenizer_files.found(folder):
    return None
  tokenizer = data_lib.load_tokenizer(folder)
  if tokenizer.vocab_size > vocab_size:
    raise UserError(
      f'{folder}: the tokenizer has {tokenizer.vocab_size} tokens, more than '
      f'the {vocab_size} rows of the embedding'
    )
  return tokenizer
