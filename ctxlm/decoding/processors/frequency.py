"""Frequency and presence penalties, as of OpenAI's completion interface."""

import dataclasses

import jax.numpy as jnp

from ctxlm.ranges import Finite


@dataclasses.dataclass(frozen=True)
class Processor:
  """Lowers logits by frequency * count + presence * (count > 0).

  Counts are of the new tokens only.
  """

  frequency: Finite = 0.0
  presence: Finite = 0.0

  def __call__(self, logits, text):
    """Returns the logits, lower where a token was written before."""
    n, v = logits.shape
    new = text.filled[:, text.prompt :]
    tokens = jnp.where(new, text.tokens[:, text.prompt :], v)
    row = jnp.arange(n)[:, None]
    count = jnp.zeros((n, v)).at[row, tokens].add(1.0, mode='drop')
    return logits - self.frequency * count - self.presence * (count > 0)
