"""No n-gram twice (Paulus et al. 2018, arXiv:1705.04304, section 2.5)."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from ctxlm.ranges import Range


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forbids what would write an n-gram of the text again, prompt included."""

  size: Annotated[int, Range('[1, 1000]')]

  def __call__(self, logits, text):
    """Returns the logits, -inf where an n-gram would end again."""
    n, v = logits.shape
    before = self.size - 1
    length = text.tokens.shape[1] - before
    if length < 1:  # no text is as long
      return logits
    match = text.filled[:, before:] & text.filled[:, :length]
    last = text.last(before)
    for i in range(before):
      match &= text.tokens[:, i : i + length] == last[:, i, None]
    tokens = jnp.where(match, text.tokens[:, before:], v)
    row = jnp.arange(n)[:, None]
    return logits.at[row, tokens].set(-jnp.inf, mode='drop')
