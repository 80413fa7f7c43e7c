"""Automata over a vocabulary: what a token does to an automaton of bytes.

Most tokens do the same as many others do, from every state. So the table is
of classes of tokens: `next[state, classes[token]]`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from ctxlm.decoding.grammar import regex


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
  """What tokens do.

  Attributes:
    next: int32 [states, classes]; -1 where a token can't be read.
    classes: int32 [v], each token's class.
    accepts: bool [states].
    first: the state before any token.
  """

  next: Any
  classes: Any
  accepts: Any
  first: int


def over_vocabulary(table, accepts, token_bytes, strip=False):
  """Returns the Automaton of an automaton of bytes.

  Args:
    table: int32 [states, 256]; -1 is none.
    accepts: bool [states].
    token_bytes: bytes of each token; None stands for no text, and can't be
      read.
    strip: whether a text's first token loses its leading space, as the
      decoders of word-wise tokenizers do.
  """
  states = len(accepts)
  # State `states` is the one before any token; state -1 stays -1.
  table = np.vstack([table, table[0], np.full(256, -1, np.int32)])
  begin = np.arange(states + 1, dtype=np.int32)
  known, classes, columns = {}, [], []
  for text in token_bytes:
    column = np.full(states + 1, -1, np.int32)
    if text:
      column = begin
      for byte in text:
        column = table[column, byte]
      if strip and text.startswith(b' '):
        column[-1] = 0
        for byte in text[1:]:
          column[-1] = table[column[-1], byte]
        if text == b' ':
          column[-1] = -1
    key = column.tobytes()
    if key not in known:
      known[key] = len(columns)
      columns.append(column)
    classes.append(known[key])
  return Automaton(
    np.stack(columns, axis=1),
    np.array(classes, np.int32),
    np.append(accepts, accepts[0]),
    states,
  )


def distances(automaton):
  """Returns how many tokens each state is from one that accepts.

  int32 [states]; FAR where none can be reached.
  """
  far = np.where(automaton.accepts, 0, FAR).astype(np.int32)
  while True:
    ahead = np.where(automaton.next < 0, FAR, far[automaton.next])
    new = np.minimum(far, ahead.min(1) + 1)
    if (new == far).all():
      return far
    far = new


FAR = 2**30


class Stop:
  """The stop strings' automaton; a token that stands for no text is passed."""

  def __init__(self, strings, token_bytes, strip):
    texts = [t or b'' for t in token_bytes]
    self._automaton = over_vocabulary(
      *regex.containing(strings), texts, strip=strip
    )

  def initial(self, n):
    """Returns the first states, int32 [n]."""
    return jnp.full(n, self._automaton.first, jnp.int32)

  def advance(self, state, tokens):
    """Returns the states int32 [n] after tokens [n]."""
    a = self._automaton
    new = jnp.asarray(a.next)[state, jnp.asarray(a.classes)[tokens]]
    return jnp.where(new < 0, state, new)

  def hit(self, state):
    """Whether a stop string has been written: bool [n]."""
    return jnp.asarray(self._automaton.accepts)[state]
