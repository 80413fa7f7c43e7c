"""Speculative sampling: a draft is checked by the model in one pass.

Leviathan et al. 2023 (arXiv:2211.17192, algorithm 1) and Chen et al. 2023: a
draft token x is accepted with probability min(1, p(x) / q(x)); the first one
that isn't is replaced by a draw from max(p - q, 0), normalised. So what comes
out is distributed as the model's own samples are, whatever the draft.

The draft is a smaller model's, or what followed the last tokens where they
stood before in the same text (prompt look-up, Saxena 2023), which is certain
of itself: q(x) = 1.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.decoding import draw
from ctxlm.decoding.strategies import sample
from ctxlm.ranges import Range


class State(struct.PyTreeNode):
  """Text, the two caches, and how many drafts were tested and accepted [n]."""

  text: Any
  cache: Any
  tested: Any
  accepted: Any


@dataclasses.dataclass(frozen=True)
class Strategy:
  """Writes up to `length` + 1 tokens a step.

  Attributes:
    length: draft tokens of a step.
    draft: folder of the draft model; '' looks up the text.
    ngram: look-up: tokens that must have stood before, at most.
    greedy: whether both take the most probable token in place of a draw.
  """

  length: Annotated[int, Range('[1, 64]')] = 4
  draft: str = ''
  ngram: Annotated[int, Range('[1, 64]')] = 3
  greedy: bool = False

  siblings = 1
  keeps_hidden = False
  drafts = True
  streams = True
  results = 1

  @property
  def random(self):
    """Whether the seed matters."""
    return not self.greedy

  @property
  def chunk(self):
    """Tokens of a step."""
    return self.length + 1

  def begin(self, rules, text, logits, cache):
    """Returns the State with the first new token.

    Args:
      rules, text, logits: see sample.Strategy.
      cache: (the model's, the draft model's), or ((the model's),).
    """
    p = self._p(rules.process(logits, text))
    token = draw.choose(p, draw.uniform(draw.keys(text, salt=2)))
    zero = jnp.zeros(len(text.start), jnp.int32)
    return State(rules.push(text, token, logits), cache, zero, zero)

  def advance(self, rules, step, state):
    """Returns the State with 1 to `length` + 1 more tokens in each row.

    Args:
      rules, state: as above.
      step: (the model's, the draft model's), or ((the model's),).
    """
    text, k = state.text, self.length
    ahead, caches = [text], list(state.cache)
    drafts, q = [], []
    looked_up = self._look_up(text) if len(step) == 1 else None
    token = text.last()
    for i in range(k):
      if looked_up is not None:
        x, one = looked_up[:, i], None
      else:
        logits, caches[1] = step[1](token, caches[1])
        one = self._p(rules.process(logits[:, 0], ahead[i]))
        x = draw.choose(one, draw.uniform(draw.keys(ahead[i])))
      q.append(one)
      drafts.append(x)
      token = x[:, None]
      ahead.append(_assume(rules, ahead[i], x))
    if looked_up is None:  # so that the draft's cache has the last one too
      _, caches[1] = step[1](token, caches[1])
    tokens = jnp.concatenate([text.last(), jnp.stack(drafts, 1)], axis=1)
    logits, caches[0] = step[0](tokens, caches[0])

    live = ~text.done
    going, out = live, text
    tested = accepted = jnp.zeros(len(live), jnp.int32)
    for i in range(k + 1):
      p = self._p(rules.process(logits[:, i], ahead[i]))
      if i == k:
        token = self._draw(p, ahead[i])
        out = rules.push(out, token, logits[:, i], going)
        break
      x = drafts[i][:, None]
      p_x = jnp.take_along_axis(p, x, 1)[:, 0]
      if looked_up is None:
        q_x = jnp.take_along_axis(q[i], x, 1)[:, 0]
        rest = jnp.maximum(p - q[i], 0)
      else:
        q_x = jnp.ones_like(p_x)
        rest = p.at[jnp.arange(len(x)), x[:, 0]].set(0)
      # With p = q up to rounding nothing may be left, and nothing is refused.
      rest = jnp.where(rest.sum(1, keepdims=True) > 0, rest, p)
      u = draw.uniform(draw.keys(ahead[i], salt=1))
      yes = u * q_x < p_x
      token = jnp.where(yes, drafts[i], self._draw(rest, ahead[i]))
      out = rules.push(out, token, logits[:, i], going)
      tested += going
      accepted += going & yes
      going &= yes & ~out.done
    # The caches hold k + 1 more tokens of each row; the text's last one is
    # never in the cache.
    extra = k + 1 - (out.new - text.new)
    return State(
      text=out,
      cache=tuple(c.rewind(extra) for c in caches),
      tested=state.tested + tested,
      accepted=state.accepted + accepted,
    )

  def unfinished(self, state):
    """Whether there is more to do: bool [n]."""
    return ~state.text.done

  def result(self, rules, state):
    """Returns what sample.Strategy does, and 'tested', 'accepted' [n]."""
    return sample.outcome(rules, state.text) | {
      'tested': state.tested,
      'accepted': state.accepted,
    }

  def _p(self, logits):
    if self.greedy:
      best = jnp.argmax(logits, axis=-1)
      return jax.nn.one_hot(best, logits.shape[-1])
    return jax.nn.softmax(logits)

  def _draw(self, weights, text):
    return draw.choose(weights, draw.uniform(draw.keys(text, salt=2)))

  def _look_up(self, text):
    """Returns the `length` tokens that followed the longest known n-gram."""
    tokens, size = text.tokens, text.tokens.shape[1]
    last = text.last(self.ngram)
    # matched[s]: how many tokens before column s are as those at the end.
    same = jnp.ones(tokens.shape, bool)
    matched = jnp.zeros(tokens.shape, jnp.int32)
    for i in range(1, self.ngram + 1):
      before = jnp.roll(tokens, i, axis=1) == last[:, -i, None]
      inside = jnp.roll(text.filled, i, axis=1) & (jnp.arange(size) >= i)
      same &= before & inside
      matched += same
    matched = jnp.where(text.filled, matched, 0)  # something follows
    # The longest match, and of these the latest.
    best = jnp.argmax(matched * size + jnp.arange(size), axis=1)
    column = best[:, None] + jnp.arange(self.length)
    return jnp.take_along_axis(tokens, jnp.minimum(column, size - 1), axis=1)


def _assume(rules, text, token):
  # The text if the draft token is accepted, whatever its row's end.
  every = jnp.ones(len(token), bool)
  states = rules.advance(text.states, token, every)
  return text.append(token, every, jnp.zeros(token.shape)).replace(
    states=states
  )
