"""Tokens that must be written, at the beginning or at the end."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ctxlm.decoding.processors import vocabulary
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forces the first new tokens, and the last one that there is room for.

  Attributes:
    first: tokens, by id or as the vocabulary has them.
    last: a token, such as that which ends a text, or several, of which it is
      one; None forces nothing.
    tokenizer, vocab_size: given by the loop.
  """

  first: tuple | str | int = ()
  last: Any = None
  tokenizer: Any = None
  vocab_size: Whole = 0

  def __post_init__(self):
    self.ids()

  def ids(self):
    """Returns (ids of `first`, ids of `last`)."""
    parts = self.first, () if self.last is None else self.last
    return tuple(
      [
        vocabulary.token(x, self.tokenizer, self.vocab_size)
        for x in vocabulary.several(part)
      ]
      for part in parts
    )

  def __call__(self, logits, text):
    """Returns logits, 0 for a forced token and -inf for all others."""
    first, last = self.ids()
    places = [(text.new == i, [token]) for i, token in enumerate(first)]
    if last:
      places.append((text.new == text.limit - 1, last))
    for here, ids in places:
      only = jnp.isin(jnp.arange(logits.shape[1]), jnp.array(ids))
      forced = jnp.where(only, 0.0, -jnp.inf)
      logits = jnp.where(here[:, None], forced, logits)
    return logits
