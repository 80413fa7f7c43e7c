"""Contrastive search (Su et al. 2022, arXiv:2202.06417, equation 5).

Of the k most probable tokens v, the one with the greatest

    (1 - alpha) p(v | x) - alpha max_j cos(h_v, h_j)

where h are the last hidden states, and j goes over all tokens before v.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.decoding import ranking
from ctxlm.decoding.strategies import sample
from ctxlm.ranges import Range, Share


class State(struct.PyTreeNode):
  """b rows; the cache has k siblings of each.

  Attributes:
    text: Text.
    cache: with `hidden`.
    logits: float32 [b, v] of the next token.
    hidden: float32 [b, l + new, m], unit vectors of the tokens so far.
  """

  text: Any
  cache: Any
  logits: Any
  hidden: Any


@dataclasses.dataclass(frozen=True)
class Strategy:
  """Looks one step ahead with k candidates.

  Attributes:
    top_k: k.
    alpha: see above; 0 is greedy.
  """

  top_k: Annotated[int, Range('[1, 1000]')] = 4
  alpha: Share = 0.6

  random = False
  chunk = 1
  keeps_hidden = True
  drafts = False
  streams = True
  results = 1

  @property
  def siblings(self):
    """Rows of the cache for each row of the prompts."""
    return self.top_k

  def begin(self, rules, text, logits, cache):
    """Returns the State before the first new token."""
    hidden = _unit(cache.hidden)
    room = text.tokens.shape[1] - hidden.shape[1]
    hidden = jnp.pad(hidden, [(0, 0), (0, room), (0, 0)])
    last = jnp.repeat(cache.hidden[:, -1:], self.top_k, axis=0)
    return State(text, cache.replace(hidden=last), logits, hidden)

  def advance(self, rules, step, state):
    """Returns the State with one more token in each row that isn't done."""
    text, k, b = state.text, self.top_k, len(state.logits)
    p = jax.nn.softmax(rules.process(state.logits, text))
    p, candidates = ranking.top(p, k)
    logits, cache = step(candidates.reshape(-1, 1), state.cache)
    new = _unit(cache.hidden[:, -1]).reshape(b, k, -1)
    likeness = jnp.einsum('bkm,blm->bkl', new, state.hidden)
    likeness = jnp.where(text.filled[:, None], likeness, -1.0).max(-1)
    scores = (1 - self.alpha) * p - self.alpha * likeness
    # What must not be written may stand among k candidates.
    best = jnp.argmax(jnp.where(p > 0, scores, -jnp.inf), axis=1)
    rows = jnp.arange(b) * k + best
    here = jnp.arange(state.hidden.shape[1]) == text.length[:, None]
    hidden = jnp.where(
      here[..., None], new[jnp.arange(b), best][:, None], state.hidden
    )
    tokens = candidates[jnp.arange(b), best].astype(jnp.int32)
    return State(
      text=rules.push(text, tokens, state.logits),
      cache=cache.take(jnp.repeat(rows, k)),
      logits=logits[rows, 0],
      hidden=hidden,
    )

  def unfinished(self, state):
    """Whether there is more to do: bool [b]."""
    return ~state.text.done

  def result(self, rules, state):
    """Returns {'tokens': [b, new], 'lengths': [b], 'logps': [b, new]}."""
    return sample.outcome(rules, state.text)


def _unit(x):
  x = x.astype(jnp.float32)
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
