"""Recurrent language models: the Transformer's stack with an LSTM for mixer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import states, transformer
from ctxlm.ranges import Count


class LSTM(nn.Module):
  """One layer of LSTM over the row, with forget gate (Gers et al. 2000).

  c_t = f c_(t-1) + i g, h_t = o tanh(c_t), with the gates i, f, o and the
  candidate g of W x_t + U h_(t-1) + b, in torch's order i, f, g, o. The state
  is zero at the first token of every segment.

  Attributes:
    options: the Model that it is part of.
    layer: which block, from 0.
  """

  options: Any
  layer: int = 0

  @nn.compact
  def __call__(self, x, *, segment_ids=None, places=None, **_):
    """Returns [b, l, m] of x [b, l, m]; the state is float32.

    With `places` it goes on from the state that is kept, and keeps the last.
    """
    m = x.shape[-1]
    dtype = jnp.dtype(self.options.dtype)
    uniform = nn.initializers.uniform(2 * m**-0.5)  # [-1, 1] / sqrt(m)

    def init(*args):
      return uniform(*args) - m**-0.5

    inputs = nn.Dense(
      4 * m, kernel_init=init, bias_init=init, dtype=dtype, name='input'
    )(x).astype(jnp.float32)
    recurrent = self.param('recurrent', init, (m, 4 * m))
    begins = states.begins(x, segment_ids)

    def step(carry, now):
      gates, begin = now
      c, h = (jnp.where(begin[:, None], 0.0, s) for s in carry)
      i, f, g, o = jnp.split(gates + h @ recurrent, 4, axis=-1)
      c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
      h = nn.sigmoid(o) * jnp.tanh(c)
      return (c, h), h

    state = (jnp.zeros((x.shape[0], m), jnp.float32),) * 2
    if places is not None:
      kept = self.variable('cache', 'state', lambda: state)
      state = kept.value
    times = inputs.swapaxes(0, 1), begins.swapaxes(0, 1)
    state, out = jax.lax.scan(step, state, times)
    if places is not None:
      kept.value = state
    return out.swapaxes(0, 1).astype(x.dtype)


class Model(states.Decoder, transformer.Model):
  """Blocks of LSTM and MLP, pre-norm, residual; see transformer.Options.

  Attributes:
    mlp_dim: -1, the default, leaves the MLP out: an LSTM of num_layers.
  """

  num_heads: Count = 1
  position: transformer.Position = 'none'
  mlp_dim: transformer.Width = -1

  mixer = LSTM

  def __post_init__(self):
    if not self.causal:
      raise ValueError('recurrent models are causal')
    super().__post_init__()
