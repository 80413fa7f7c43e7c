"""The continuous cache: Grave et al. 2017, arXiv:1612.04426, equations 2 and 3.

    p(x | h_1..t, x_1..t) ~ sum_(i < t) 1{x = x_(i+1)} exp(theta h_t . h_i)

over the last `window` pairs of a hidden state and the token that came after it,
of the same text. The pair of h_t itself is not among them: its token is the one
that is asked for. Before there is a pair, the model's own distribution stands.
"""

import dataclasses
from typing import Annotated, Any

import jax.numpy as jnp
from flax import struct

from ctxlm import context, models
from ctxlm.models import cache as cache_lib
from ctxlm.models import decoder
from ctxlm.ranges import Range, Share, ZeroOrMore

NONE = -1  # the token of an empty place


@dataclasses.dataclass(frozen=True)
class Context:
  """The tokens that came after states like this one, in the text itself.

  Attributes:
    theta: how much more the likest states count; 0 counts tokens alone.
    window: pairs, at most.
    weight: see context.Context.
  """

  theta: ZeroOrMore = 0.3
  window: Annotated[int, Range('[1, 1000000]')] = 500
  weight: Share = 0.1

  context_length = None
  grid = {
    'theta': (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0),
    'window': (50, 100, 200, 500, 1000, 2000),
  }

  def open(self, model, load):
    """See context.Context."""
    models.need_vectors(model.model)
    return self, {}

  def rows(self, params, seen):
    """See context.Context."""
    votes = self.votes(self.evidence(params, seen), seen)
    return context.tally(*votes, seen.logps)

  def evidence(self, params, seen):
    """Returns h_t . h_i float32 [n, t, t - 1], see context.Tuned."""
    hidden = seen.hidden.astype(jnp.float32)
    return jnp.einsum('nqm,nkm->nqk', hidden, hidden[:, :-1])

  def votes(self, evidence, seen):
    """See context.Tuned."""
    s = seen.segment_ids
    own = s[:, :-1] == s[:, 1:]
    values = jnp.where(own, seen.tokens[:, 1:], NONE)
    place = jnp.arange(s.shape[1])
    back = place[:, None] - place[:-1]
    visible = (back > 0) & (back <= self.window)
    visible = visible & (s[:, :, None] == s[:, None, :-1])
    return self._votes(evidence, values, visible)

  def begin(self, params, seen, prompts):
    """See context.Context."""
    hidden = seen.hidden.astype(jnp.float32)
    slots = min(self.window, hidden.shape[1] + prompts.ahead)
    filled = seen.segment_ids > 0
    own = filled[:, :-1] & filled[:, 1:]
    values = jnp.where(own, seen.tokens[:, 1:], NONE)
    memory = Memory(
      cache_lib.fit(hidden[:, :-1], slots, 1),
      cache_lib.fit(values, slots, 1, empty=NONE),
      hidden[:, -1],
      jnp.asarray(hidden.shape[1] - 1, jnp.int32),
    )
    logps = self._ask(memory, seen.logps)
    return logps, memory.repeat(prompts.siblings)

  def advance(self, params, seen, memory):
    """See context.Context."""
    said = []
    for i in range(seen.tokens.shape[1]):
      memory = memory.put(seen.tokens[:, i], seen.hidden[:, i])
      said.append(self._ask(memory, seen.logps[:, i, None]))
    return jnp.concatenate(said, axis=1), memory

  def _ask(self, memory, own):
    scores = jnp.einsum('nm,nkm->nk', memory.last, memory.keys)[:, None]
    return context.tally(*self._votes(scores, memory.values, True), own)

  def _votes(self, scores, values, visible):
    # Of pairs whose scores are [n, q, k] and tokens [n, k].
    visible = visible & (values != NONE)[:, None]
    scores = jnp.where(visible, self.theta * scores, -jnp.inf)
    return scores, values[:, None]


class Memory(struct.PyTreeNode):
  """The last pairs of n rows, in a ring: pair i is in slot i modulo s.

  Attributes:
    keys: float32 [n, s, m].
    values: int32 [n, s], the tokens that came after, NONE of an empty slot.
    last: float32 [n, m], the newest state, whose token is not known yet.
    index: int32 scalar, the number of the next pair.
  """

  keys: Any
  values: Any
  last: Any
  index: Any

  def put(self, tokens, hidden):
    """Returns the memory after tokens int32 [n] and their states [n, m]."""
    slot = self.index % self.values.shape[1]
    return Memory(
      self.keys.at[:, slot].set(self.last),
      self.values.at[:, slot].set(tokens),
      hidden.astype(jnp.float32),
      self.index + 1,
    )

  def take(self, rows):
    """See ctxlm.decoding.Cache."""
    keys, values, last = (x[rows] for x in (self.keys, self.values, self.last))
    return self.replace(keys=keys, values=values, last=last)

  def repeat(self, count):
    """Returns the memory with `count` of each row, one after another."""
    kept = decoder.repeat((self.keys, self.values, self.last), count)
    return Memory(*kept, self.index)
