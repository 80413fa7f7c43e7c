"""What may be written, and when a row ends; the same for every strategy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ctxlm.decoding.processors import Automaton


@dataclasses.dataclass(frozen=True)
class Rules:
  """Logit processors, ends of text, and stop strings.

  Attributes:
    processors: in the order in which they are applied; see
      ctxlm.decoding.processors.
    eos_ids: tokens that end a row.
    pad_id: what follows the end.
    stop: automaton.Stop of the stop strings, or None.
    show_probs: whether log-probabilities are kept.
  """

  processors: tuple = ()
  eos_ids: tuple = ()
  pad_id: int = 0
  stop: Any = None
  show_probs: bool = False

  @property
  def parts(self):
    """The processors and the stop strings: all that may have a state."""
    return (*self.processors, self.stop)

  def begin(self, text):
    """Returns the text with the automata's first states."""
    n = len(text.start)
    return text.replace(
      states=tuple(
        part.initial(n) if isinstance(part, Automaton) else None
        for part in self.parts
      )
    )

  def process(self, logits, text):
    """Returns logits float32 [n, v] as the processors leave them.

    Where they leave none, the text ends.
    """
    raw = logits
    for processor, state in zip(self.processors, text.states, strict=False):
      own = (state,) if isinstance(processor, Automaton) else ()
      logits = processor(logits, text, *own)
    if not (self.processors and self.eos_ids):
      return logits
    ends = jnp.isin(jnp.arange(logits.shape[1]), jnp.array(self.eos_ids))
    none = ~(logits > -jnp.inf).any(-1, keepdims=True)
    return jnp.where(none & ends, raw, logits)

  def push(self, text, tokens, logits=None, live=None):
    """Returns the text with a new token in each row that isn't done.

    Args:
      text: Text.
      tokens: int32 [n].
      logits: float32 [n, v], the model's own, for `show_probs`.
      live: bool [n]; rows that take it, if they aren't done; None is all.
    """
    live = ~text.done if live is None else live & ~text.done
    logps = jnp.zeros(tokens.shape)
    if self.show_probs and logits is not None:
      picked = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
      logps = picked - jax.nn.logsumexp(logits, axis=1)
    states = self.advance(text.states, tokens, live)
    text = text.append(tokens, live, logps)
    ended = self.ends(tokens, states) | (text.new >= text.limit)
    return text.replace(states=states, done=text.done | (live & ended))

  def advance(self, states, tokens, live):
    """Returns the automata's states after tokens [n], where live [n]."""
    return tuple(
      jnp.where(live, part.advance(state, tokens), state)
      if isinstance(part, Automaton)
      else None
      for part, state in zip(self.parts, states, strict=True)
    )

  def ends(self, tokens, states):
    """Whether each row ends with the token that led to the states."""
    ended = jnp.zeros(tokens.shape, bool)
    for eos in self.eos_ids:
      ended |= tokens == eos
    if self.stop is not None:
      ended |= self.stop.hit(states[-1])
    return ended

  def finish(self, text):
    """Returns the new tokens int32 [n, new], padding after the end."""
    tokens = text.tokens[:, text.prompt :]
    kept = jnp.arange(tokens.shape[1]) < text.new[:, None]
    return jnp.where(kept, tokens, self.pad_id)
