"""Gated convolution: the Transformer's stack with BaseConv for mixer."""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import layers, states, transformer
from ctxlm.ranges import Count, Range


def causal_convolution(x, kernel, positions=None):
  """Returns y_t = sum_(j <= t) kernel_j x_(t-j), channel by channel.

  Args:
    x: [b, l, m].
    kernel: [k, m]; lag 0 first.
    positions: int [b or 1, l] that count from 0 in each segment, so that a
      token sees no other segment; None is one segment.
  """
  length = x.shape[1]
  kernel = kernel[:length]
  if positions is None:
    # A Toeplitz matrix a channel: one batched product of matrices.
    lag = jnp.arange(length)[:, None] - jnp.arange(length)[None]
    inside = (lag >= 0) & (lag < len(kernel))
    taps = kernel[jnp.clip(lag, 0, len(kernel) - 1)]
    taps = jnp.where(inside[..., None], taps, 0.0)
    return jnp.einsum('qkm,bkm->bqm', taps, x)

  def add(total, tap):
    lag, weight = tap
    late = jnp.roll(x, lag, axis=1)  # what wraps around is not reached
    return total + jnp.where(
      positions[..., None] >= lag, late, 0
    ) * weight, None

  total, _ = jax.lax.scan(
    add, jnp.zeros_like(x), (jnp.arange(len(kernel)), kernel)
  )
  return total


class BaseConv(nn.Module):
  """y = (W x + b) * (h conv x + c), Arora et al. 2023 (2312.04927), eq. 3.

  Attributes:
    options: the Model that it is part of.
    layer: which block, from 0: it decides the kernel's size.
  """

  options: Any
  layer: int = 0

  @nn.compact
  def __call__(self, x, *, segment_ids=None, positions=None, places=None, **_):
    """Returns [b, l, m] of x [b, l, m].

    With `places` the inputs that the kernel reaches from the next token are
    kept, and it goes on from them.
    """
    o = self.options
    dtype = jnp.dtype(o.dtype)
    size = o.kernel_sizes[self.layer % len(o.kernel_sizes)] or o.max_length
    if x.shape[1] > size == o.max_length:
      raise ValueError(f'a row is longer than max_length={size}')
    m = x.shape[-1]
    init = nn.initializers.normal(size**-0.5)
    kernel = self.param('kernel', init, (size, m)).astype(dtype)
    bias = self.param('bias', nn.initializers.zeros, (m,)).astype(dtype)
    gate = layers.Linear(
      m, dtype=dtype, kernel_init=layers.normal(m**-0.5), name='gate'
    )(x)
    if places is not None and self.has_variable('cache', 'inputs'):
      line = self._go_on(x, kernel, segment_ids)
    else:
      line = causal_convolution(
        x, kernel, None if segment_ids is None else positions
      )
      if places is not None:
        inside = jnp.where(segment_ids[..., None] > 0, x, 0)
        self._keep(inside, min(size, places.slots) - 1)
    return gate * (line + bias)

  def _keep(self, x, count):
    # The last inputs [b, count, m]; 0 before the row's first.
    x = jnp.pad(x, [(0, 0), (count, 0), (0, 0)])
    self.put_variable('cache', 'inputs', x[:, x.shape[1] - count :])

  def _go_on(self, x, kernel, segment_ids):
    kept = self.get_variable('cache', 'inputs')
    count, new = kept.shape[1], x.shape[1]
    begun = jnp.cumsum(states.begins(x, segment_ids), axis=1)
    begun = jnp.pad(begun, [(0, 0), (count, 0)])
    x = jnp.concatenate([kept, x], axis=1)

    def reached(i, size):  # those of one segment that end at the i-th new one
      at = slice(count + i + 1 - size, count + i + 1)
      same = begun[:, at] == begun[:, count + i, None]
      return jnp.where(same[..., None], x[:, at], 0)

    self._keep(reached(new - 1, count), count)
    taps = kernel[: count + 1][::-1]
    rows = jnp.stack([reached(i, count + 1) for i in range(new)], axis=1)
    return jnp.einsum('bqkm,km->bqm', rows, taps)


@dataclasses.dataclass(unsafe_hash=True)
class Options(transformer.Options):
  """Options of a Transformer, and of its convolutions.

  Attributes:
    kernel_sizes: of the blocks' kernels, over and over; 0 is max_length.
    mlp_dim: -1, the default, leaves the MLP out.
  """

  num_heads: Count = 1
  position: transformer.Position = 'none'
  mlp_dim: transformer.Width = -1
  kernel_sizes: Annotated[tuple[int, ...], Range('[0, inf)')] = (3, 0)

  def __post_init__(self):
    super().__post_init__()
    if not self.causal:
      raise ValueError('convolutional models are causal')
    if self.scan_layers and len(set(self.kernel_sizes)) > 1:
      raise ValueError('scan_layers needs kernel_sizes that are all the same')

  @property
  def kind(self):
    """See transformer.Options."""
    return Options


class Model(Options, states.Decoder, transformer.Model):
  """Blocks of gated convolution, pre-norm, residual; see Options."""

  mixer = BaseConv

  @property
  def context_length(self):
    """See decoder.Decoder; a kernel of max_length reaches no further."""
    sizes = {size or self.max_length for size in self.kernel_sizes}
    if self.max_length in sizes:
      return self.max_length
    return super().context_length

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)
