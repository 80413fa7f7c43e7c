"""A Hugging Face or sentence-transformers folder, or a GGUF file, opened."""

import dataclasses

import jax
import jax.numpy as jnp

from ctxlm import plugins, ranges, trees
from ctxlm.errors import UserError, note, printable, reason
from ctxlm.families import (
  answers,
  bart,
  bert,
  gpt2,
  llama,
  opened,
  roberta,
  sentence,
  t5,
)
from ctxlm.families import family as family_lib
from ctxlm.families.formats import gguf, tensors, tf_checkpoint
from ctxlm.families.source import Source
from ctxlm.files import read_json

FAMILIES = (
  gpt2.FAMILY,
  bert.FAMILY,
  roberta.FAMILY,
  bart.FAMILY,
  t5.FAMILY,
  llama.FAMILY,
  llama.MISTRAL,
)


def family_of(config):
  """Returns the Family of a config.json; see find.

  Early files have no model_type: the name of their class tells.
  """
  kinds = family_lib.KINDS | {'is_encoder_decoder': bool}
  said = ranges.check_json(kinds, config, 'config.json: ')
  for name in said['architectures'] or ():
    for family in FAMILIES:
      if 'model_type' not in config and family.has_class(name):
        return family
  family = find(said['model_type'])
  alone, name = family.encoder, next(iter(said['architectures'] or ()), '')
  # A file without a class has the key.
  no_decoder = not name and said['is_encoder_decoder'] is False
  return alone if alone and (alone.lists(name) or no_decoder) else family


def find(model_type):
  """Returns the Family of config.json's model_type.

  Raises:
    UserError: an unknown one. None is suggested: of two names that are near,
      such as mt5 and t5, each computes something else.
  """
  known = {family.model_type: family for family in FAMILIES}
  if model_type not in known:
    raise UserError(
      f'config.json: model_type {model_type!r} is of no family here; there '
      f'are {", ".join(sorted(known))}'
    )
  return known[model_type]


@dataclasses.dataclass(frozen=True)
class Beside:
  """What another folder puts in place of some of a model's tensors.

  Attributes:
    tensors: {their name: tensor}.
    ends: of the name of the class that the model is then; '' is its own.
  """

  tensors: dict
  ends: str = ''

  def settings(self, config, family):
    """Returns config.json as it is with the tensors."""
    for _, name in family.architectures if self.ends else ():
      if name.endswith(self.ends):
        config = config | {'architectures': [name]}
    said = ranges.check_json({'id2label': object}, config, 'config.json: ')
    classes = said['id2label']
    heads = {x.shape[0] for x in self.tensors.values()}
    if isinstance(classes, dict) and heads and len(classes) not in heads:
      config = {k: v for k, v in config.items() if k != 'id2label'}
    return config


def open_folder(folder, beside=None, **options):
  """Opens a folder that transformers or sentence-transformers reads.

  Args:
    folder: pathlib.Path, with config.json and weights, see
      tensors.open_folder; or with modules.json, see sentence.read; or of a
      file, see gguf.open_file.
    beside: Beside, or None.
    **options: of the model, in place of those of config.json, such as
      dtype='bfloat16' or scan_layers=True.

  Returns:
    opened.Opened.

  Raises:
    UserError: an unknown family, or a tensor that is missing, not known or of
      another shape; one line that names it.
  """
  small, weights = folder, None
  if folder.is_file():
    small, weights = gguf.open_file(folder)
  pooled = sentence.read(small)
  inner = small / pooled.path if pooled else small
  try:
    block, parameters, task = _parameters(inner, beside, options, weights)
    if pooled and pooled.dense:
      size = block['hidden_size']
      parameters |= sentence.parameters(small, pooled, size)
  except UserError as e:
    where = '' if str(folder) in str(e) else f'{folder}: '
    raise UserError(f'{where}{e}') from e
  shapes = trees.nest({path: x.shape for path, x in parameters.items()})

  def read(abstract):
    def one(path, leaf):
      return jax.make_array_from_callback(
        leaf.shape, leaf.sharding, parameters[path].read
      )

    return trees.map_with_name(one, abstract)

  return opened.Opened(
    folder,
    block,
    shapes,
    read,
    opened.read_tokenizer(inner, block['vocab_size']),
    folder if weights else inner,
    small,
    pooled,
    task,
  )


def _parameters(folder, beside, options, weights):
  # Returns (config block, {our path: source.Read}, task).
  in_tensorflow = tf_checkpoint.find(folder)
  if in_tensorflow:
    config, weights = in_tensorflow
  else:
    path = folder / 'config.json'
    found = sorted(folder.glob('*.gguf'))
    if found and not path.is_file():
      raise UserError(
        f'no file {path}; a GGUF file is named itself: {found[0]}'
      )
    config = read_json(path)
  family = family_of(config)
  block = family.options(config) | options
  plugins.check('models', block, 'config.json: ')
  plugins.build('models', block)  # before the weights are looked for
  if weights is None:
    weights = tensors.open_folder(folder)
  if beside:
    config = beside.settings(config, family)
    weights = weights | beside.tensors
  kinds = family_lib.KINDS | {'is_encoder_decoder': bool}
  said = ranges.check_json(kinds, config, 'config.json: ')
  source = Source(family, weights, said['architectures'])
  block |= source.options(block)
  model = plugins.build('models', block)
  try:
    wanted = shapes(model)
  except NO_MODEL as e:
    raise UserError(f'config.json: no such model: {reason(e)}') from e
  places = source.places(wanted, family_lib.complete(block))
  if source.unknown:
    note(
      f'{folder}: left out, as a head that is not known here: '
      f'{printable(", ".join(source.unknown))[:200]}'
    )
  found = {path: read.shape.shape for path, read in places.items()}
  return block, places, answers.read(config, found, family)


# What Flax and JAX raise of a model of odd sizes, such as no tokens.
NO_MODEL = (TypeError, ValueError, OverflowError, IndexError)


def shapes(model):
  """Returns {path: shape} of a model's parameters, heads left out."""
  tokens = jnp.zeros((1, 2), jnp.int32)
  both = model.encoder_decoder

  def run(model):
    return model.logits(model(tokens, tokens) if both else model(tokens))

  made = jax.eval_shape(lambda: model.init(jax.random.key(0), method=run))
  return {path: x.shape for path, x in trees.flatten(made['params']).items()}
