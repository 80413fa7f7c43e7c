"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained vectors first.

They stand before the embedded tokens, of an encoder-decoder's source, and pass
through all layers; what comes out at their places is dropped. They have no
positions of a learned table, and those before 0 of others, so that the tokens
keep theirs.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from ctxlm.errors import UserError
from ctxlm.models import adapters, layers
from ctxlm.ranges import Count, Pattern


@dataclasses.dataclass(frozen=True)
class Adapter:
  """Before what a stack of layers reads.

  Attributes:
    length: vectors; uniform in +-0.5 at first, as in the paper.
    target: found in the path of a stack.
    trained: see adapters.Adapter.
  """

  length: Count = 20
  target: Annotated[str, Pattern()] = '^(stack|encoder)$'
  trained: Annotated[str, Pattern()] = '^heads/'

  scope = 'prompt'
  around = 'stack of ours'

  def intercept(self, call, args, kwargs, context, rows):
    """See adapters.Adapter.

    Raises:
      UserError: there are as many as the model reads tokens; or the model is
        to write token by token, or to show its layers.
    """
    module = context.module
    if not isinstance(module, layers.Stack) or not adapters.meets(
      self.target, context
    ):
      return call(*args, **kwargs)
    n, most = self.length, module.options.max_length
    if n >= most:
      raise UserError(
        f'config.adapt.length={n} must be less than config.model.max_length='
        f'{most}, the tokens of a row'
      )
    if kwargs.get('places') is not None:
      raise UserError(
        "a model with config.adapt.name='prompt' is not made to write token by "
        "token: 'prefix' is"
      )
    if module.is_mutable_collection('intermediates'):
      raise UserError(
        "the layers of a model with config.adapt.name='prompt' can't be shown"
      )
    (x,) = args
    shape = (n, x.shape[-1])
    first = adapters.param(module, self.scope, 'vectors', _uniform, shape)
    first = jnp.broadcast_to(first.astype(x.dtype), (len(x), *shape))
    more = {
      'segment_ids': lambda ids: ids.max(1, keepdims=True) + 0 * _row(n),
      'positions': lambda p: _row(n) - n + 0 * p[:, :1],
      'prefix': lambda seen: jnp.ones((len(seen), n), bool),
    }
    for key, make in more.items():
      own = kwargs.get(key)
      if own is not None:
        kwargs[key] = jnp.concatenate([make(own), own], axis=1)
    return call(jnp.concatenate([first, x], axis=1), **kwargs)[:, n:]

  def merge(self, params):
    """See adapters.Adapter."""
    return None


def _row(n):
  return jnp.arange(n)[None]


def _uniform(key, shape):
  return jax.random.uniform(key, shape, minval=-0.5, maxval=0.5)
