"""Recurrence or convolution with hard-wired heads of attention, for n-grams.

Akyurek et al. 2024 (2401.12973) put such heads into models that lack them. A
head attends evenly to all tokens that stand behind the n that were read last:
what followed them in the context. Plug-in of experiments/icll.py.
"""

import dataclasses
from typing import Annotated, Literal

import flax.linen as nn
import jax.numpy as jnp

from ctxlm.models import convolution, layers, recurrent, transformer
from ctxlm.ranges import Finite, Range

MIXERS = {
  'lstm': recurrent.Model.mixer,
  'convolution': convolution.Model.mixer,
}


def followed(tokens, count):
  """Returns which tokens a head attends to, float32 [b, l, l].

  A row sums to 1 over the tokens up to its own that stand behind the `count`
  which end with its own, or is 0 if there are none.

  Args:
    tokens: int [b, l].
    count: tokens that are the same.

  >>> import jax.numpy as jnp
  >>> followed(jnp.array([[5, 6, 5, 7, 5]]), 1)[0, 4].tolist()
  [0.0, 0.5, 0.0, 0.5, 0.0]
  """
  place = jnp.arange(tokens.shape[1])
  there = (place >= count) & (place <= place[:, None])
  for lag in range(count):
    own, other = (jnp.roll(tokens, n, axis=1) for n in (lag, lag + 1))
    there &= own[:, :, None] == other[:, None]
  return there / jnp.maximum(there.sum(-1, keepdims=True), 1)


class Heads(nn.Module):
  """Adds, for each count, a linear map of what `followed` attends to."""

  options: 'Options'

  @nn.compact
  def __call__(self, x, tokens):
    """Returns [b, l, m] of x [b, l, m] and tokens int [b, l]."""
    o = self.options
    y = layers.make_norm(o, 'norm')(x)
    for count in o.counts:
      out = layers.Linear(
        o.hidden_size,
        use_bias=False,
        dtype=jnp.dtype(o.dtype),
        kernel_init=layers.normal(o.out_stddev),
        name=f'after_{count}',
      )
      x += out(jnp.einsum('bqk,bkm->bqm', followed(tokens, count), y))
    return x


@dataclasses.dataclass(unsafe_hash=True)
class Options(convolution.Options):
  """Options of a convolution, and more.

  Attributes:
    read: what the blocks do beside the heads.
    forget_bias: see recurrent.Options.
    counts: of each head, the tokens that it goes by.
  """

  read: Literal[*MIXERS] = 'lstm'
  forget_bias: Finite = 1.0
  counts: Annotated[tuple[int, ...], Range('[1, inf)')] = (1, 2)

  def __post_init__(self):
    super().__post_init__()
    if self.scan_layers:
      raise ValueError('scan_layers: heads are behind the first block alone')

  @property
  def kind(self):
    """See transformer.Options."""
    return Options


class Model(Options, transformer.Model):
  """A model of texts without padding, with heads behind its first block."""

  @staticmethod
  def mixer(options, layer, name):
    """Returns a block's own; see layers.Block."""
    return MIXERS[options.read](options, layer=layer, name=name)

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)

  def setup(self):
    super().setup()
    self.ngrams = Heads(self.options)

  def __call__(self, tokens, **call):
    """See transformer.Model."""

    def edit(x, depth):
      return self.ngrams(x, tokens) if depth == 1 else x

    return super().__call__(tokens, edit=edit, **call)
