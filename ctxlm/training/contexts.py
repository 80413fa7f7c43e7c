"""What config.context puts around the model of a run; see ctxlm.context."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from ctxlm import context, models, plugins
from ctxlm.context import widened
from ctxlm.errors import UserError
from ctxlm.models import adapters


@dataclasses.dataclass(frozen=True)
class Member:
  """A model as a context is given it, see inference.loading.Loaded."""

  folder: Path
  model: Any
  params: Any
  tokenizer: Any

  @property
  def fingerprint(self):
    """Raises UserError: the model is still to be trained."""
    raise UserError(
      'config.context: a datastore is of a model that is trained already: give '
      'it to ctxlm evaluate --context'
    )


def around(model, config, tokenizer):
  """Returns the model of a config with its contexts around it, if it has any.

  Raises:
    UserError: they can't be opened, or aren't for this model.
  """
  blocks = config.context
  if not blocks:
    if config.gate:
      raise UserError(
        'config.gate=True weighs contexts: name one, such as '
        '--config.context.cache.name=neural_cache'
      )
    return model
  if isinstance(model, models.Counts) or model.encoder_decoder:
    raise UserError(
      'config.context is for decoders alone that are trained, unlike '
      f'config.model.name={config.model.name!r}'
    )
  own = Member(Path('config.model'), model, None, tokenizer)
  plugs = [plugins.build('context', block) for block in blocks.values()]
  contexts, given = zip(*[one.open(own, _member) for one in plugs], strict=True)
  context.weights(contexts)  # are some
  return widened.Widened(model, contexts, config.gate, jax.device_get(given))


def _member(folder):
  # Here, as what opens folders builds programs, which have contexts.
  from ctxlm.training import initial

  opened = initial.open_folder(folder)
  model = adapters.build(opened.block, opened.adapt)
  if not model.causal or model.encoder_decoder or opened.tokenizer is None:
    raise UserError(f'{folder} is no decoder alone with its tokenizer')
  if widened.OWN in opened.shapes:
    raise UserError(f'{folder} has contexts of its own, and is none')
  return Member(opened.folder, model, opened.read_all(), opened.tokenizer)
