"""A model that is opened, and what widens its context; see ctxlm.context."""

import dataclasses
import os

import jax

from ctxlm import plugins
from ctxlm.context import weights, widened
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.families import opened as families
from ctxlm.inference import loading, score


def widen(loaded, said, placement=None):
  """Returns the loading.Loaded of a model with contexts around it.

  Args:
    loaded: loading.Loaded of a causal model with a tokenizer.
    said: the contexts, NAME:KEY=VALUE,... each; of none, it is `loaded`.
    placement: parallel.Pmap or Mesh that the model is placed by; None is what
      loading.load takes of itself.

  Raises:
    UserError: a context that can't be opened, or isn't for this model.
  """
  if not said:
    return loaded
  need_next(loaded)
  need_plain(loaded)
  if placement is None and loaded.run is not None:
    placement = loaded.run.program.placement
  contexts, params = opened(loaded, said, placement)
  weights(contexts)  # are some
  whole = widened.Widened(loaded.model, contexts)
  params = {widened.OWN: {str(i): tree for i, tree in enumerate(params)}}
  place = placement.shardings if placement else families.on_first_device
  # On a CPU what is mapped into memory stays where it is.
  params = jax.device_put(params, place(params))
  return dataclasses.replace(loaded, model=whole, params=loaded.params | params)


def opened(loaded, said, placement=None):
  """Returns (contexts, their parameters), tuples; see `widen`."""

  def load(folder):
    other = loading.load(os.path.expanduser(folder), placement)
    need_next(other)
    return other

  blocks = [build.parse('context', text) for text in said]
  plugs = [plugins.build('context', block) for block in blocks]
  return tuple(zip(*[plug.open(loaded, load) for plug in plugs], strict=True))


def need_plain(loaded):
  """Raises UserError if a Loaded has contexts around it already."""
  if isinstance(loaded.model, widened.Widened):
    raise UserError(
      f'{loaded.folder} was trained with contexts around it (config.context), '
      'and goes with them: this takes a model alone'
    )


def need_next(loaded):
  """Raises UserError if a Loaded doesn't say what the next token is."""
  loading.need_tokenizer(loaded)
  score.need_causal(loaded)
