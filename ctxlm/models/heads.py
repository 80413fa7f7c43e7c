"""Heads on the hidden states; a head's parameters exist if it is called."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import layers


class MLMTransform(nn.Module):
  """Dense, activation, norm: BERT's transform before the tied decoder."""

  options: Any

  @nn.compact
  def __call__(self, x):
    """Returns [..., m] of x [..., m]."""
    o = self.options
    x = nn.Dense(
      o.hidden_size,
      dtype=jnp.dtype(o.dtype),
      name='dense',
      kernel_init=layers.normal(o.init_stddev),
    )(x)
    return layers.make_norm(o, 'norm')(layers.ACTIVATIONS[o.activation](x))


class LogitsBias(nn.Module):
  """A bias of logits, [v]."""

  size: int

  @nn.compact
  def __call__(self, x, trained=True):
    """Returns x + bias, which gets a gradient if it is `trained`."""
    bias = self.param('bias', nn.initializers.zeros, (self.size,))
    return x + (bias if trained else jax.lax.stop_gradient(bias))


class Projection(nn.Module):
  """SimCSE's MLP head: dense and tanh, `projection_layers` times."""

  options: Any

  @nn.compact
  def __call__(self, x):
    """Returns [b, m] of x [b, m]."""
    o = self.options
    for i in range(o.projection_layers):
      x = nn.Dense(
        o.hidden_size,
        name=f'dense_{i}',
        kernel_init=layers.normal(o.init_stddev),
      )(x)
      x = jnp.tanh(x)
    return x


class Heads:
  """Methods of a Model that has `inputs.token_embed` and the options."""

  def setup_heads(self):
    """Defines the heads; called in the Model's setup."""
    init = layers.normal(self.init_stddev)
    if not self.tie_embeddings:
      self.lm_head = nn.Dense(
        self.vocab_size,
        use_bias=False,
        dtype=jnp.dtype(self.dtype),
        kernel_init=init,
      )
    self.mlm_transform = MLMTransform(self.options)
    self.mlm_bias = LogitsBias(self.vocab_size)
    if self.logits_bias:
      self.final_bias = LogitsBias(self.vocab_size)
    self.pooler = nn.Dense(self.hidden_size, kernel_init=init)
    self.next_sentence_head = nn.Dense(2, kernel_init=init)
    self.projection = Projection(self.options)

  def logits(self, hidden):
    """Returns next-token logits float32 [..., v] of hidden [..., m]."""
    if self.logits_scale:
      hidden = hidden * hidden.shape[-1] ** -0.5
    logits = self._decode(hidden)
    return self.final_bias(logits, False) if self.logits_bias else logits

  def _decode(self, hidden):
    if not self.tie_embeddings:
      return self.lm_head(hidden).astype(jnp.float32)
    table = self.inputs.token_embed.embedding.astype(hidden.dtype)
    return jnp.einsum(
      '...m,vm->...v', hidden, table, preferred_element_type=jnp.float32
    )

  def mlm_logits(self, hidden):
    """Returns MLM logits float32 [..., v] of hidden [..., m]."""
    return self.mlm_bias(self._decode(self.mlm_transform(hidden)))

  def pool(self, hidden):
    """Returns tanh(dense(first token)), float32 [b, m] (BERT)."""
    return jnp.tanh(self.pooler(hidden[:, 0].astype(jnp.float32)))

  def next_sentence(self, pooled):
    """Returns logits float32 [b, 2]; class 1 is 'not next'."""
    return self.next_sentence_head(pooled)

  def project(self, pooled):
    """Returns the contrastive projection [b, m] of [b, m]."""
    return self.projection(pooled)
