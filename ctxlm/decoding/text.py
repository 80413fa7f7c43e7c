"""What has been written so far: the state that every strategy carries."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


class Text(struct.PyTreeNode):
  """Rows of tokens: prompts, padded on the left, and what follows them.

  Attributes:
    tokens: int32 [n, l + new], l columns of prompt and room for new tokens.
    start: int32 [n], each row's first column.
    length: int32 [n], columns that are filled.
    done: bool [n], rows that are finished.
    limit: int32 [n], new tokens at most.
    index: int32 [n], the sample's number among all; randomness is of it.
    seed: int32 scalar.
    states: of the rules' automata, see ctxlm.decoding.rules.
    logps: float32 [n, new], log-probabilities of the new tokens in the
      model's own distribution; [n, 0] where nobody asks.
    prompt: l.
  """

  tokens: Any
  start: Any
  length: Any
  done: Any
  limit: Any
  index: Any
  seed: Any
  states: Any
  logps: Any
  prompt: int = struct.field(pytree_node=False)

  @property
  def new(self):
    """How many tokens each row has got: int32 [n]."""
    return self.length - self.prompt

  @property
  def filled(self):
    """Which columns hold tokens: bool [n, l + new]."""
    column = jnp.arange(self.tokens.shape[1])
    return (column >= self.start[:, None]) & (column < self.length[:, None])

  def last(self, count=1):
    """Returns each row's last `count` tokens, int32 [n, count]."""
    column = self.length[:, None] + jnp.arange(-count, 0)
    column = jnp.clip(column, 0, self.tokens.shape[1] - 1)
    return jnp.take_along_axis(self.tokens, column, axis=1)

  def append(self, tokens, live, logps):
    """Returns the text with tokens [n] (and logps) after each `live` row."""

    def put(row, column, value):
      here = jnp.arange(row.shape[1]) == column[:, None]
      return jnp.where(here & live[:, None], value[:, None], row)

    return self.replace(
      tokens=put(self.tokens, self.length, tokens),
      logps=put(self.logps, self.new, logps),
      length=self.length + live,
    )

  def take(self, rows):
    """Returns the text whose row i is row `rows[i]` of this one."""
    seed, states = self.seed, self.states
    out = jax.tree.map(lambda x: x[rows], self.replace(seed=None, states=None))
    states = jax.tree.map(lambda x: x[rows], states)
    return out.replace(seed=seed, states=states)

  def repeat(self, count):
    """Returns the text with `count` of each row, one after another."""
    return self.take(jnp.repeat(jnp.arange(len(self.start)), count))


def begin(tokens, start, limit, index, seed, *, room, logps=False):
  """Returns the Text of prompts int32 [n, l].

  Args:
    tokens, start, limit, index, seed: see Text.
    room: new tokens that there is room for.
    logps: whether to keep log-probabilities.
  """
  n, prompt = tokens.shape
  return Text(
    tokens=jnp.pad(tokens, [(0, 0), (0, room)]),
    start=start,
    length=jnp.full(n, prompt, jnp.int32),
    done=limit <= 0,
    limit=limit,
    index=index,
    seed=seed,
    states=(),
    logps=jnp.zeros((n, room if logps else 0), jnp.float32),
    prompt=prompt,
  )
