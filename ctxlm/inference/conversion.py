"""A folder of any kind, written as a model folder or as Hugging Face's."""

import contextlib
import dataclasses
from pathlib import Path

import jax

from ctxlm import files
from ctxlm.errors import UserError
from ctxlm.families import (
  arpa,
  export,
  model_folder,
  peft,
  sentence,
  small_files,
)
from ctxlm.families import family as family_lib
from ctxlm.inference import loading, widening
from ctxlm.models import adapters
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
    loaded.adapt,
  )


def merged(loaded):
  """Returns a loading.Loaded without adapters, of the same function.

  Raises:
    UserError: its adapters can't be merged.
  """
  model, params = adapters.merged(loaded.model, loaded.params)
  return dataclasses.replace(loaded, model=model, params=params, adapt=None)


def write_hf(loaded, folder):
  """Fills an empty folder, which transformers then loads; see families.export.

  One of sentence vectors is one that sentence-transformers loads, too.

  Returns:
    paths of the parameters that were left out.
  """
  loading.need_tokenizer(loaded)
  size = family_lib.complete(loaded.block)['hidden_size']
  pooled, small = loaded.sentence, loaded.small
  inner = folder / pooled.path if pooled else folder
  if small:
    own = sentence.read(small)  # of the reference, as it was
    small_files.copy_small(
      small / own.path if own and not pooled else small, folder
    )
  sentence.restate(folder, pooled, size, loaded.params)
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
  maps = pooled.shapes(size) if pooled else {}
  return [path for path in left_out if path not in maps]


def write_peft(loaded, folder):
  """Fills an empty folder with LoRA alone, see families.peft.write.

  The model is called there what the run began from.
  """
  began = loaded.run.config.init_from if loaded.run else ''
  name = began if isinstance(began, str) else ''
  config = _reference(loaded) / 'config.json' if loaded.small else None
  original = files.read_json(config) if config and config.is_file() else None
  return peft.write(
    folder,
    loaded.block,
    loaded.params,
    loaded.adapt,
    loaded.task,
    original,
    name,
  )


def _reference(loaded):
  # The folder of a reference's config.json.
  pooled = sentence.read(loaded.small)
  return loaded.small / pooled.path if pooled else loaded.small


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


def convert(
  source, to=None, to_hf=None, step='', merge=False, to_peft=None, base=''
):
  """Converts a folder of any kind, see loading.load, or an ARPA file.

  Args:
    source: folder, or file.
    to: model folder to write, or ARPA file, or None.
    to_hf: Hugging Face folder to write, or None; adapters are merged.
    step: of a run, see checkpoint.find.
    merge: whether they are in the model folder, too.
    to_peft: PEFT's folder of LoRA alone to write, or None.
    base: of an adapter of PEFT that is read, see families.peft.open_folder.

  Returns:
    (number of parameters, paths of those that were left out).

  Raises:
    UserError: a mistake, before which nothing is written.
  """
  # Each device holds a part, so that what fits the machine can be converted.
  placement = mesh_lib.Mesh(jax.devices(), fsdp=jax.device_count())
  loaded = loading.load(source, placement, step, base=base)
  widening.need_plain(loaded)
  left_out = []
  alone = merged(loaded) if merge or to_hf else loaded
  with contextlib.ExitStack() as both:  # neither is there before both are whole
    if to and arpa.is_one(to):
      loading.need_tokenizer(loaded)
      _need_none(Path(to))
      arpa.write(to, loaded.model, loaded.params, loaded.tokenizer)
    elif to:
      kept = alone if merge else loaded
      write_model(kept, both.enter_context(_new_folder(to)))
    if to_hf:
      left_out = write_hf(alone, both.enter_context(_new_folder(to_hf)))
    if to_peft:
      new = both.enter_context(_new_folder(to_peft))
      left_out += write_peft(loaded, new)
  return sum(x.size for x in jax.tree.leaves(loaded.params)), left_out
