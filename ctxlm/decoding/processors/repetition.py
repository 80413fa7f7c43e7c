"""Repetition penalty (Keskar et al. 2019, arXiv:1909.05858, section 4.1)."""

import dataclasses

import jax.numpy as jnp

from ctxlm.ranges import AboveZero


@dataclasses.dataclass(frozen=True)
class Processor:
  """Divides positive logits of tokens in the text, prompt included.

  Negative ones are multiplied, as in Transformers.
  """

  penalty: AboveZero

  def __call__(self, logits, text):
    """Returns the logits, lower where a token was written before."""
    n, v = logits.shape
    tokens = jnp.where(text.filled, text.tokens, v)
    row = jnp.arange(n)[:, None]
    seen = jnp.zeros((n, v), bool).at[row, tokens].set(True, mode='drop')
    lower = jnp.where(logits < 0, logits * self.penalty, logits / self.penalty)
    return jnp.where(seen, lower, logits)
