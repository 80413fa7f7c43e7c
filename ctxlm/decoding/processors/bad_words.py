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
    words: one or several, each a text, or a tuple of token ids. A text is
      forbidden as the tokenizer cuts it at a beginning, and after a space.
    tokenizer, vocab_size: given by the loop.
  """

  words: tuple | str | int
  tokenizer: Any = None
  vocab_size: Whole = 0

  def __post_init__(self):
    if self.words in ((), ''):
      raise ValueError('bad_words: words is empty')
    self.sequences()

  def sequences(self):
    """Returns the sequences, tuples of ids."""
    cuts = []
    for word in vocabulary.several(self.words):
      cuts.append(word)
      if isinstance(word, str):
        cuts.append(f' {word}')
    given = self.tokenizer, self.vocab_size
    return list(dict.fromkeys(vocabulary.sequence(w, *given) for w in cuts))

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
