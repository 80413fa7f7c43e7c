"""Tokens that must be written, at the beginning or at the end."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ctxlm.decoding.processors import vocabulary


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forces the first new tokens, and the last one that there is room for.

  Attributes:
    first: tokens, by id or as the vocabulary has them.
    last: a token, such as that which ends a text; None forces nothing.
    tokenizer, vocab_size: given by the loop.
  """

  first: tuple = ()
  last: Any = None
  tokenizer: Any = None
  vocab_size: int = 0

  def __post_init__(self):
    self.ids()

  def ids(self):
    """Returns (ids of `first`, ids of `last`: none or one)."""
    first = (self.first,) if isinstance(self.first, str | int) else self.first
    last = () if self.last is None else (self.last,)
    return tuple(
      [vocabulary.token(x, self.tokenizer, self.vocab_size) for x in part]
      for part in (first, last)
    )

  def __call__(self, logits, text):
    """Returns logits, 0 for a forced token and -inf for all others."""
    first, last = self.ids()
    forced = jnp.full(len(logits), -1)
    for i, token in enumerate(first):
      forced = jnp.where(text.new == i, token, forced)
    for token in last:
      forced = jnp.where(text.new == text.limit - 1, token, forced)
    only = jnp.arange(logits.shape[1]) == forced[:, None]
    free = (forced < 0)[:, None]
    return jnp.where(free, logits, jnp.where(only, 0.0, -jnp.inf))
