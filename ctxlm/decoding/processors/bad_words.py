"""Words, or sequences of tokens, that must not be written."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ctxlm.decoding.processors import vocabulary
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forbids the last token of a sequence after those before it.

  Attributes:
    words: each a text, which the tokenizer cuts, or a tuple of token ids.
    tokenizer, vocab_size: given by the loop.
  """

  words: tuple
  tokenizer: Any = None
  vocab_size: Whole = 0

  def __post_init__(self):
    if not self.words:
      raise ValueError('bad_words: words is empty')
    self.sequences()

  def sequences(self):
    """Returns the sequences, tuples of ids."""
    return [
      vocabulary.sequence(w, self.tokenizer, self.vocab_size)
      for w in self.words
    ]

  def __call__(self, logits, text):
    """Returns the logits, -inf where a sequence would end."""
    for *before, token in self.sequences():
      match = jnp.ones(len(logits), bool)
      if before:
        last = text.last(len(before))
        match = (last == jnp.array(before)).all(1)
        match &= text.length - text.start >= len(before)
      column = jnp.where(match, -jnp.inf, 0.0)
      logits = logits.at[:, token].add(column)
    return logits
