"""Sampling from the model's distribution, as the processors leave it.

Temperature and filters are processors: see ctxlm.decoding.processors.
"""

import dataclasses
from typing import Any

from flax import struct

from ctxlm.decoding import draw


class State(struct.PyTreeNode):
  """Text and cache; the last token of a row isn't in the cache yet."""

  text: Any
  cache: Any


@dataclasses.dataclass(frozen=True)
class Strategy:
  """Draws every token; see ctxlm.decoding.Strategy."""

  random = True
  siblings = 1
  chunk = 1
  keeps_hidden = False
  drafts = False
  streams = True
  results = 1

  def pick(self, logits, text):
    """Returns each row's next token int32 [n] of logits [n, v]."""
    return draw.categorical(logits, draw.uniform(draw.keys(text)))

  def begin(self, rules, text, logits, cache):
    """Returns the State with the first new token."""
    return State(self._push(rules, text, logits), cache)

  def advance(self, rules, step, state):
    """Returns the State with one more token in each row that isn't done."""
    logits, cache = step(state.text.last(), state.cache)
    return State(self._push(rules, state.text, logits[:, 0]), cache)

  def _push(self, rules, text, logits):
    tokens = self.pick(rules.process(logits, text), text)
    return rules.push(text, tokens, logits)

  def unfinished(self, state):
    """Whether there is more to do: bool [n]."""
    return ~state.text.done

  def result(self, rules, state):
    """Returns {'tokens': [n, new], 'lengths': [n], 'logps': [n, new]}."""
    return outcome(rules, state.text)


def outcome(rules, text):
  """Returns what every strategy gives of its Text."""
  return {
    'tokens': rules.finish(text),
    'lengths': text.new,
    'logps': text.logps,
  }
