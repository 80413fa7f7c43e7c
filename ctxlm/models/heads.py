"""How a model writes, and how it hosts the heads that objectives call for."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import layers


class LogitsBias(nn.Module):
  """A bias of logits, [v], which never gets a gradient."""

  size: int

  @nn.compact
  def __call__(self, x):
    """Returns x + bias."""
    bias = self.param('bias', nn.initializers.zeros, (self.size,))
    return x + jax.lax.stop_gradient(bias)


class Host(nn.Module):
  """Where heads live: what is called as `name` has its parameters there."""

  @nn.compact
  def __call__(self, name, module, *args):
    """Returns module(*args), the module being this one's child `name`."""
    return module.clone(parent=self, name=name)(*args)


class Heads:
  """Methods of a Model that has `inputs.token_embed` and the options."""

  def setup_heads(self):
    """Defines how the model writes; called in the Model's setup."""
    if not self.tie_embeddings:
      self.lm_head = layers.Linear(
        self.vocab_size,
        use_bias=False,
        dtype=jnp.dtype(self.dtype),
        kernel_init=layers.normal(self.init_stddev),
      )
    if self.logits_bias:
      self.final_bias = LogitsBias(self.vocab_size)
    self.heads = Host()

  def head(self, name, module, *args):
    """Returns module(*args), with its parameters under `heads/NAME`.

    An objective's head comes into being, and is found again, by this call.

    Args:
      name: of the head; objectives that name the same one share it.
      module: Flax module without a parent, as the objective defines it.
      *args: of the module's call, such as hidden states.
    """
    return self.heads(name, module, *args)

  def logits(self, hidden):
    """Returns next-token logits float32 [..., v] of hidden [..., m]."""
    if self.logits_scale:
      hidden = hidden * hidden.shape[-1] ** -0.5
    logits = self.decode_tokens(hidden)
    return self.final_bias(logits) if self.logits_bias else logits

  def decode_tokens(self, hidden):
    """Returns hidden [..., m] against each token's vector: float32 [..., v].

    The vectors are the embeddings, or those of `lm_head` where it is untied.
    """
    if not self.tie_embeddings:
      return self.lm_head(hidden).astype(jnp.float32)
    table = self.inputs.token_embed.embedding.astype(hidden.dtype)
    return layers.product(
      hidden,
      table.T,
      (((hidden.ndim - 1,), (0,)), ((), ())),
      preferred_element_type=jnp.float32,
    )


def has(params, name):
  """Whether parameters hold a head of that name."""
  return name in params.get('heads', {})
