"""Only texts of a given set, that match a pattern, or JSON of a schema.

The pattern is compiled once to an automaton over the vocabulary (Willard &
Louf 2023, arXiv:2307.09702); each row carries its state. A token may be
written if what it leads to can still be finished in the tokens that are left,
so that what is written always matches.
"""

import dataclasses
import functools
import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from ctxlm.decoding.grammar import automaton, regex
from ctxlm.decoding.processors import vocabulary
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """The new text, as the tokenizer decodes it, is one of these.

  Attributes:
    strings: texts.
    pattern: a regular expression of the whole text; see regex.matching.
    schema: a JSON schema, as text; or the file that holds it.
    tokenizer, vocab_size, eos_ids, max_new_tokens: given by the loop.
  """

  strings: tuple | str = ()
  pattern: str = ''
  schema: str = ''
  tokenizer: Any = None
  vocab_size: Whole = 0
  eos_ids: tuple = ()
  max_new_tokens: Whole = 0

  def __post_init__(self):
    if bool(self.strings) + bool(self.pattern) + bool(self.schema) != 1:
      raise ValueError('constrained: give strings, a pattern, or a schema')
    if not all(isinstance(string, str) for string in self.strings):
      raise ValueError('constrained: strings are texts, each in quotes')
    if self.tokenizer.tidies:
      raise ValueError(
        "constrained: this tokenizer's decoder leaves out spaces, so that what "
        'a text will be is not known before its end; a tokenizer of another '
        'kind is wanted, such as bpe'
      )
    if self.shortest >= automaton.FAR:
      raise ValueError(
        f'constrained: no text of this vocabulary matches {self._what}'
      )
    if self.shortest > self.max_new_tokens:
      raise ValueError(
        f'constrained: {self._what} needs {self.shortest} tokens, more than '
        f'the {self.max_new_tokens} that may be written'
      )

  @property
  def shortest(self):
    """Tokens of the shortest text; see decoding.processors."""
    a, distance = self.compiled
    return int(distance[a.first])

  @property
  def _what(self):
    given = self.pattern or self.schema or ', '.join(map(repr, self.strings))
    return regex.short(given)

  @functools.cached_property
  def compiled(self):
    """(Automaton, int32 [states]: tokens to the nearest end)."""
    strings = vocabulary.several(self.strings)
    pattern = self.pattern or '|'.join(map(re.escape, strings))
    if self.schema:
      pattern = regex.of_schema(self.schema)
    texts = list(self.tokenizer.token_bytes)
    texts += [None] * (self.vocab_size - len(texts))
    table, accepts = regex.matching(pattern)
    a = automaton.over_vocabulary(
      table, accepts, texts, strip=self.tokenizer.strips_first
    )
    return a, automaton.distances(a)

  def initial(self, n):
    """Returns the first states, int32 [n]."""
    return jnp.full(n, self.compiled[0].first, jnp.int32)

  def advance(self, state, tokens):
    """Returns the states int32 [n] after tokens [n]."""
    a, _ = self.compiled
    new = jnp.asarray(a.next)[state, jnp.asarray(a.classes)[tokens]]
    return jnp.where(new < 0, state, new)

  def __call__(self, logits, text, state):
    """Returns the logits, -inf where the text could no longer match."""
    a, distance = self.compiled
    ahead = np.where(a.next < 0, automaton.FAR, distance[a.next])
    left = (text.limit - text.new - 1)[:, None]
    allowed = jnp.asarray(ahead)[state] <= left  # [n, classes]
    allowed = allowed[:, jnp.asarray(a.classes)]
    accepts = jnp.asarray(a.accepts)[state]
    for eos in self.eos_ids:
      allowed = allowed.at[:, eos].set(accepts)
    return jnp.where(allowed, logits, -jnp.inf)
