"""Beam search, beam sampling, and diverse groups of beams.

Candidates, finished hypotheses and early stopping are as Hugging Face
Transformers defines them: of each row's num_beams * v continuations the best
(number of ends + 1) * num_beams are looked at; those of them that end, and
are among the first num_beams, compete by score / length^length_penalty for
the num_beams places of finished ones; the best that don't end go on.

Groups (Vijayakumar et al. 2018, arXiv:1610.02424, algorithm 1): each group
searches by itself, and at each step pays `diversity_penalty` for every beam
of an earlier group that has just taken the same token (Hamming diversity).
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.decoding import draw, ranking
from ctxlm.ranges import Count, Finite, Range, ZeroOrMore

NEVER = -1e9  # the score of what isn't there


class State(struct.PyTreeNode):
  """b rows of w beams; Text and cache have b * w rows.

  Attributes:
    text, cache: of the beams that go on; none of their rows is done.
    scores: float32 [b, w], the sums of their log-probabilities.
    tokens: int32 [b, w, new] of finished hypotheses, best first.
    lengths: int32 [b, w].
    finished: float32 [b, w], their scores; NEVER where there is none.
    logps: float32 [b, w, new].
    open: bool [b, groups], where a better one may still be found.
  """

  text: Any
  cache: Any
  scores: Any
  tokens: Any
  lengths: Any
  finished: Any
  logps: Any
  open: Any


@dataclasses.dataclass(frozen=True)
class Strategy:
  """Keeps the most probable beginnings.

  Attributes:
    num_beams: w.
    length_penalty: scores are divided by length^this.
    early_stopping: True ends a row with num_beams finished hypotheses; False,
      when the best beam at its present length is worse than all of them;
      'never', when it would be at the greatest length.
    num_best: hypotheses that are returned of each row; where fewer can be
      written, the last ones are empty, and their score NEVER.
    sample: whether continuations are drawn, without replacement, in place of
      the best.
    num_groups, diversity_penalty: see above.
  """

  num_beams: Annotated[int, Range('[1, 1000]')] = 4
  length_penalty: Finite = 1.0
  early_stopping: Literal[True, False, 'never'] = False
  num_best: Count = 1
  sample: bool = False
  num_groups: Annotated[int, Range('[1, 64]')] = 1
  diversity_penalty: ZeroOrMore = 0.0

  chunk = 1
  keeps_hidden = False
  drafts = False
  streams = False

  def __post_init__(self):
    if self.num_best > self.num_beams:
      raise ValueError(
        f'num_best={self.num_best} is more than num_beams={self.num_beams}'
      )
    if self.num_beams % self.num_groups:
      raise ValueError(
        f'num_groups={self.num_groups} must divide num_beams={self.num_beams}'
      )

  @property
  def siblings(self):
    """Rows of the cache for each row of the prompts."""
    return self.num_beams

  @property
  def results(self):
    """Rows of the result for each row of the prompts."""
    return self.num_best

  @property
  def random(self):
    """Whether the seed matters."""
    return self.sample

  @property
  def width(self):
    """Beams of a group."""
    return self.num_beams // self.num_groups

  def begin(self, rules, text, logits, cache):
    """Returns the State with the first new tokens."""
    b, w, new = len(text.start), self.num_beams, text.tokens.shape[1]
    new -= text.prompt
    # Beams are equal at first; only one of each group may go on.
    scores = jnp.where(jnp.arange(w) % self.width == 0, 0.0, NEVER)
    state = State(
      text=text.repeat(w),
      cache=cache,
      scores=jnp.broadcast_to(scores, (b, w)),
      tokens=jnp.full((b, w, new), rules.pad_id, jnp.int32),
      lengths=jnp.zeros((b, w), jnp.int32),
      finished=jnp.full((b, w), NEVER),
      logps=jnp.zeros((b, w, text.logps.shape[1])),
      open=jnp.repeat(text.limit[:, None] > 0, self.num_groups, axis=1),
    )
    return self._search(rules, state, jnp.repeat(logits, w, axis=0))

  def advance(self, rules, step, state):
    """Returns the State with one more token in each beam."""
    logits, cache = step(state.text.last(), state.cache)
    return self._search(rules, state.replace(cache=cache), logits[:, 0])

  def unfinished(self, state):
    """Whether there is more to do: bool [b]."""
    more = state.open
    if self.early_stopping is True:
      full = (state.finished > NEVER / 2).reshape(*more.shape, -1).all(-1)
      more &= ~full
    new = state.text.new.reshape(len(more), -1)[:, 0]
    return more.any(-1) & (new < state.text.limit[:: self.num_beams])

  def result(self, rules, state):
    """Returns {'tokens', 'lengths', 'logps', 'scores'} of b * num_best rows."""
    del rules
    scores, order = jax.lax.top_k(state.finished, self.num_best)

    def best(x):
      x = jax.vmap(lambda a, i: a[i])(x, order)
      return x.reshape(scores.size, *x.shape[2:])

    return {
      'tokens': best(state.tokens),
      'lengths': best(state.lengths),
      'logps': best(state.logps),
      'scores': scores.reshape(-1),
    }

  def _search(self, rules, state, logits):
    text, w, b = state.text, self.num_beams, len(state.scores)
    raw = jax.nn.log_softmax(logits)
    logp = rules.process(raw, text).reshape(b, w, -1)
    parts, used = [], jnp.zeros((b, logp.shape[2]))
    for group in range(self.num_groups):
      beams = slice(group * self.width, (group + 1) * self.width)
      own = logp[:, beams] - self.diversity_penalty * used[:, None]
      parts.append(self._group(rules, state, own, raw, beams, group))
      taken = parts[-1]['taken']
      used = used.at[jnp.arange(b)[:, None], taken].add(1.0)
    joined = {
      k: jnp.concatenate([p[k] for p in parts], axis=1) for k in parts[0]
    }
    rows = (jnp.arange(b)[:, None] * w + joined['rows']).reshape(-1)
    taken = joined['taken'].reshape(-1)
    live, picked = jnp.ones(b * w, bool), raw[rows, taken]
    text = text.take(rows)
    states = rules.advance(text.states, taken, live)
    text = text.append(taken, live, picked).replace(states=states)
    return state.replace(
      text=text,
      cache=state.cache.take(rows),
      scores=joined['scores'],
      tokens=joined['tokens'],
      lengths=joined['lengths'],
      finished=joined['finished'],
      logps=joined['logps'],
      open=joined['open'],
    )

  def _group(self, rules, state, logp, raw, beams, group):
    text, w, width = state.text, self.num_beams, self.width
    b, _, v = logp.shape
    new = text.new[0]
    total = (logp + state.scores[:, beams, None]).reshape(b, -1)
    count = max(2, 1 + len(rules.eos_ids)) * width
    count = min(count, width * v)
    if self.sample:
      keys = draw.keys(text, salt=group)[::w]
      total, index = draw.without_replacement(total, keys, count)
    else:
      total, index = ranking.top(total, count)
    beam, taken = index // v, index % v
    rows = beams.start + beam  # [b, count], of the row's beams
    flat = (jnp.arange(b)[:, None] * w + rows).reshape(-1)
    token = taken.reshape(-1)
    states = jax.tree.map(lambda x: x[flat], text.states)
    states = rules.advance(states, token, jnp.ones(b * count, bool))
    ends = rules.ends(token, states).reshape(b, count)

    # Those that go on.
    going, order = jax.lax.top_k(total + ends * NEVER, width)

    # Those that are finished, among what was finished before.
    ends |= (new + 1 >= text.limit[::w])[:, None]
    score = total / (new + 1).astype(jnp.float32) ** self.length_penalty
    allowed = ends & (jnp.arange(count) < width) & (total > NEVER / 2)
    allowed &= (state.open[:, group] & self.unfinished(state))[:, None]
    before = state.finished[:, beams]
    if self.early_stopping is True:
      allowed &= ~(before > NEVER / 2).all(1, keepdims=True)
    score = jnp.where(allowed, score, NEVER)
    finished, best = jax.lax.top_k(jnp.concatenate([before, score], 1), width)
    tokens, logps = text.tokens[flat, text.prompt :], text.logps[flat]
    at = jnp.arange(tokens.shape[1]) == new
    tokens = jnp.where(at, token[:, None], tokens)
    tokens = jnp.where(jnp.arange(tokens.shape[1]) <= new, tokens, rules.pad_id)
    if rules.show_probs:
      logps = jnp.where(at, raw[flat, token][:, None], logps)

    def merge(old, candidates):
      candidates = candidates.reshape(b, count, *old.shape[2:])
      both = jnp.concatenate([old[:, beams], candidates], axis=1)
      return jax.vmap(lambda a, i: a[i])(both, best)

    def goes(x):
      return jnp.take_along_axis(x, order, axis=1)

    return {
      'rows': goes(rows),
      'taken': goes(taken),
      'scores': going,
      'tokens': merge(state.tokens, tokens),
      'lengths': merge(state.lengths, jnp.full(b * count, new + 1)),
      'finished': finished,
      'logps': merge(state.logps, logps),
      'open': self._open(state, text, going, finished, new + 1, group),
    }

  def _open(self, state, text, going, finished, new, group):
    longest = new
    if self.early_stopping == 'never' and self.length_penalty > 0:
      longest = text.limit[:: self.num_beams, None]
    longest = jnp.asarray(longest, jnp.float32)
    possible = going[:, :1] / longest**self.length_penalty
    worst = jnp.where(
      finished > NEVER / 2, finished.min(1, keepdims=True), NEVER
    )
    better = (possible > worst).any(1, keepdims=True)
    return state.open[:, group, None] & better
