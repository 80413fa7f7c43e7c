"""Tokens that must not be written, at all or at one place."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ctxlm.decoding.processors import filters, vocabulary
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forbids tokens.

  Attributes:
    tokens: by id or as the vocabulary has them, never to be written.
    first: tokens that must not be the new token number `place`.
    place: from 0.
    tokenizer, vocab_size: given by the loop.
  """

  tokens: tuple | str | int = ()
  first: tuple | str | int = ()
  place: Whole = 0
  tokenizer: Any = None
  vocab_size: Whole = 0

  def __post_init__(self):
    self.ids()

  def ids(self):
    """Returns (ids of `tokens`, ids of `first`)."""
    return tuple(
      [
        vocabulary.token(x, self.tokenizer, self.vocab_size)
        for x in vocabulary.several(part)
      ]
      for part in (self.tokens, self.first)
    )

  def __call__(self, logits, text):
    """Returns the logits, -inf for what must not be written."""
    never, first = (
      jnp.isin(jnp.arange(logits.shape[1]), jnp.array(ids, jnp.int32))
      for ids in self.ids()
    )
    now = (text.new == self.place)[:, None]
    return filters.keep(logits, ~(never | (now & first)))
