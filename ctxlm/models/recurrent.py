"""Recurrent language models: the Transformer's stack with an LSTM for mixer."""

import dataclasses

import flax.linen as nn

from ctxlm.models import lstm, states, transformer
from ctxlm.ranges import Count, Finite


@dataclasses.dataclass(unsafe_hash=True)
class Options(transformer.Options):
  """Options of a Transformer, and of its LSTMs.

  Attributes:
    mlp_dim: -1, the default, leaves the MLP out: an LSTM of num_layers.
    forget_bias: what the forget gates' bias begins with beside its draw. Of
      gates that begin at 1 / 2, half of the state is lost with every token
      (Jozefowicz et al. 2015, section 2.2).
  """

  num_heads: Count = 1
  position: transformer.Position = 'none'
  mlp_dim: transformer.Width = -1
  forget_bias: Finite = 1.0

  def __post_init__(self):
    super().__post_init__()
    if not self.causal:
      raise ValueError('recurrent models are causal')

  @property
  def kind(self):
    """See transformer.Options."""
    return Options


class Model(Options, states.Decoder, transformer.Model):
  """Blocks of LSTM and MLP, pre-norm, residual; see Options."""

  @staticmethod
  def mixer(options, layer, name):
    """Returns a block's LSTM; see layers.Block."""
    del layer
    return lstm.Layer(
      options.hidden_size,
      forget_bias=options.forget_bias,
      dtype=options.dtype,
      name=name,
    )

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)
