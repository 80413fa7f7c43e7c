"""A folder that holds a model, opened: what is known before it is read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ctxlm import data as data_lib
from ctxlm import trees
from ctxlm.data.tokenizers import files as tokenizer_files
from ctxlm.errors import UserError
from ctxlm.parallel import memory
from ctxlm.trees import abstract


@dataclasses.dataclass(frozen=True)
class Opened:
  """A run folder, a model folder or a reference's; its parameters are unread.

  Attributes:
    folder: what was opened.
    block: config block of the model, as `config.model`.
    shapes: the parameters' tree of jax.ShapeDtypeStruct, heads included.
    read: (part of that tree, with shardings) -> these parameters, float32.
    tokenizer: Tokenizer, or None where the folder has none.
    tokenizer_path: where config.tokenizer.path finds it.
    small: folder with the reference's settings, or None.
    sentence: families.sentence.Sentence, or None.
    task: config block of the objective whose head answers, or None.
    adapt: config block of the adapter around the model, or None.
  """

  folder: Path
  block: dict
  shapes: Any
  read: Callable
  tokenizer: Any
  tokenizer_path: Path
  small: Path | None = None
  sentence: Any = None
  task: dict | None = None
  adapt: dict | None = None

  def read_all(self, shardings=None):
    """Returns all parameters.

    Args:
      shardings: tree of shapes -> tree of shardings, as placements have it;
        None puts everything on the first device.
    """
    shardings = on_first_device if shardings is None else shardings
    return self.take(abstract(self.shapes, shardings(self.shapes)))

  def take(self, wanted):
    """Returns what `read` does.

    Raises:
      UserError: a parameter holds NaN or an infinity; says which.
    """
    memory.check(f'{self.folder}: the model', wanted, 'use more devices')
    params = self.read(wanted)
    if name := trees.non_finite(params):
      raise UserError(
        f'{self.folder}: the parameter {name} holds NaN or infinity; take '
        'another checkpoint, or leave it out in config.init_from'
      )
    return params


def on_first_device(tree):
  """Returns the shardings that put all of a tree on the first device."""
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(lambda _: one, tree)


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
