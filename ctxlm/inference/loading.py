"""A folder opened for use, whoever wrote it: model, parameters, tokenizer."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from ctxlm import files, models
from ctxlm.errors import UserError
from ctxlm.families import hub
from ctxlm.inference import passes, retrieval
from ctxlm.models import adapters, heads
from ctxlm.training import checkpoint, checksums, initial
from ctxlm.training import run_folder as run_lib


@dataclasses.dataclass(frozen=True)
class Loaded:
  """What `load` gives.

  Attributes:
    folder: what was opened.
    block: config block of the model, as `config.model`.
    model, params, tokenizer: as ctxlm.load gives them.
    small: folder with the reference's settings, or None.
    sentence: families.sentence.Sentence, how it makes vectors, or None.
    task: config block of the objective whose head answers, or None.
    adapt: config block of the adapter around the model, or None.
    run: the run folder's Run, or None.
  """

  folder: Path
  block: dict
  model: Any
  params: Any
  tokenizer: Any
  small: Path | None = None
  sentence: Any = None
  task: dict | None = None
  adapt: dict | None = None
  run: Any = None

  @property
  def max_length(self):
    """Tokens in a row: those that were trained on, or that the model takes."""
    return self.run.config.max_length if self.run else self.model.max_length

  @functools.cached_property
  def fingerprint(self):
    """What states and ids are of: the parameters and the tokenizer, a hash."""
    sums = sorted(checksums.of(self.params).items())
    return files.digest(sums, self.tokenizer.fingerprint)

  @functools.cached_property
  def passes(self):
    """What the model is asked by, see inference.passes."""
    return passes.Passes(self.model, self.params)

  @functools.cached_property
  def finder(self):
    """What finds the passages that it reads beside a text, or None."""
    return retrieval.of(self)


def load(folder, placement=None, step='', allow_code=(), base='', **options):
  """Opens a run folder, a model folder, or one of Hugging Face or
  sentence-transformers; or a GGUF file.

  Args:
    folder: path, or a name, see families.hub.
    placement: parallel.Mesh or Pmap whose rules place the parameters; None is
      what the run's config says, or the first device.
    step: of a run folder, see checkpoint.find.
    allow_code: modules that the folder may name, see plugins.refuse_code.
    base: of an adapter of PEFT, see families.peft.open_folder.
    **options: of the model, in place of the folder's own.

  Raises:
    UserError: it can't be read.
  """
  folder = hub.find(folder)
  if run_lib.is_one(folder):
    initial.need_no_base(folder, base)
    run = run_lib.load(folder, step, placement, allow_code)
    model = run.model.clone(**options) if options else run.model
    opened, params = run.opened, run.params
    block = opened.block | options
  else:
    opened = initial.open_folder(folder, step, allow_code, base, **options)
    run = None
    params = opened.read_all(placement.shardings if placement else None)
    block, model = opened.block, adapters.build(opened.block, opened.adapt)
  if isinstance(model, models.Counts):
    model.check(params, opened.folder)
  return Loaded(
    opened.folder,
    block,
    model,
    params,
    opened.tokenizer,
    opened.small,
    opened.sentence,
    opened.task,
    opened.adapt,
    run,
  )


def step_of(folder, step=''):
  """Returns the number of a run's step, as checkpoint.find has it.

  Of another folder what was given, which `load` looks at.
  """
  folder = hub.find(folder)
  if run_lib.is_one(folder) and checkpoint.steps(folder):
    return checkpoint.find(folder, step)[0]
  return step


def load_with_tokenizer(folder, step=''):
  """Returns what `load` gives; raises UserError if it has no tokenizer."""
  loaded = load(folder, step=step)
  need_tokenizer(loaded)
  return loaded


def need_tokenizer(loaded):
  """Raises UserError if a Loaded has no tokenizer."""
  if loaded.tokenizer is None:
    raise UserError(f'{loaded.folder} has no tokenizer: put its files there')


def need_logits(loaded):
  """Raises UserError if a Loaded has no head that gives tokens' logits."""
  model = loaded.model
  apart = isinstance(model, heads.Heads) and not model.tie_embeddings
  if apart and 'lm_head' not in loaded.params:
    raise UserError(
      f'{loaded.folder} has no LM head: it says nothing of the next token'
    )
