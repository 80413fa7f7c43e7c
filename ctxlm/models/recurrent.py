"""Recurrent language models: the Transformer's stack with an LSTM for mixer."""

from ctxlm.models import lstm, states, transformer
from ctxlm.ranges import Count


class Model(states.Decoder, transformer.Model):
  """Blocks of LSTM and MLP, pre-norm, residual; see transformer.Options.

  Attributes:
    mlp_dim: -1, the default, leaves the MLP out: an LSTM of num_layers.
  """

  num_heads: Count = 1
  position: transformer.Position = 'none'
  mlp_dim: transformer.Width = -1

  @staticmethod
  def mixer(options, layer, name):
    """Returns a block's LSTM; see layers.Block."""
    del layer
    return lstm.Layer(options.hidden_size, dtype=options.dtype, name=name)

  def __post_init__(self):
    if not self.causal:
      raise ValueError('recurrent models are causal')
    super().__post_init__()
