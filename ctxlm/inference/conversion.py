"""A folder of any kind, written as a model folder or as Hugging Face's."""

import contextlib
from pathlib import Path

import jax

from ctxlm import files
from ctxlm.errors import UserError
from ctxlm.families import (
  arpa,
  export,
  model_folder,
  sentence,
  small_files,
)
from ctxlm.inference import loading
from ctxlm.parallel import mesh as mesh_lib


def write_model(loaded, folder):
  """Fills an empty folder, which becomes a model folder of a loading.Loaded."""
  loading.need_tokenizer(loaded)
  model_folder.write(
    folder,
    loaded.block,
    loaded.params,
    loaded.tokenizer,
    loaded.small,
    loaded.sentence,
    loaded.task,
  )


def write_hf(loaded, folder):
  """Fills an empty folder, which transformers then loads; see families.export.

  One of sentence vectors is one that sentence-transformers loads, too.

  Returns:
    paths of the parameters that were left out.
  """
  loading.need_tokenizer(loaded)
  pooled, small = loaded.sentence, loaded.small
  inner = folder / pooled.path if pooled else folder
  if small:
    own = sentence.read(small)  # of the reference, as it was
    small_files.copy_small(
      small / own.path if own and not pooled else small, folder
    )
  sentence.restate(folder, pooled, loaded.model.hidden_size, loaded.params)
  original = inner / 'config.json'
  original = files.read_json(original) if original.is_file() else None
  if not original:
    export.write_tokenizer(inner, loaded.tokenizer, loaded.model, loaded.task)
  elif loaded.task:
    export.write_frame(inner, loaded.tokenizer)
    export.write_padding(inner, loaded.tokenizer)
  left_out = export.write(
    inner,
    loaded.block,
    loaded.params,
    loaded.tokenizer,
    original,
    loaded.task,
  )
  maps = pooled.shapes(loaded.model.hidden_size) if pooled else {}
  return [path for path in left_out if path not in maps]


@contextlib.contextmanager
def _new_folder(folder):
  """Gives a temporary folder, which takes the name when all went well."""
  folder = Path(folder)
  if not (folder.is_dir() and not any(folder.iterdir())):
    _need_none(folder)
  with files.new_folder(folder) as new:
    yield new


def _need_none(path):
  if path.exists():
    raise UserError(f'{path} is there already; name a new one')


def convert(source, to=None, to_hf=None, step=''):
  """Converts a folder of any kind, see loading.load, or an ARPA file.

  Args:
    source: folder, or file.
    to: model folder to write, or ARPA file, or None.
    to_hf: Hugging Face folder to write, or None.
    step: of a run, see checkpoint.find.

  Returns:
    (number of parameters, paths of those that were left out).

  Raises:
    UserError: a mistake, before which nothing is written.
  """
  # Each device holds a part, so that what fits the machine can be converted.
  placement = mesh_lib.Mesh(jax.devices(), fsdp=jax.device_count())
  if arpa.is_one(source):
    loaded = loading.Loaded(Path(source), *arpa.read(source))
  else:
    loaded = loading.load(source, placement, step)
  left_out = []
  with contextlib.ExitStack() as both:  # neither is there before both are whole
    if to and arpa.is_one(to):
      loading.need_tokenizer(loaded)
      _need_none(Path(to))
      arpa.write(to, loaded.model, loaded.params, loaded.tokenizer)
    elif to:
      write_model(loaded, both.enter_context(_new_folder(to)))
    if to_hf:
      left_out = write_hf(loaded, both.enter_context(_new_folder(to_hf)))
  return sum(x.size for x in jax.tree.leaves(loaded.params)), left_out
