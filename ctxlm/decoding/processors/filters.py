"""What the filters of sampling share."""

import jax
import jax.numpy as jnp

from ctxlm.decoding import ranking


def keep(logits, kept):
  """Returns logits, -inf where not `kept`."""
  return jnp.where(kept, logits, -jnp.inf)


def best(score, count):
  """Returns which are as good as the `count` of greatest score: bool [n, v].

  Ties with the last of them are, too.
  """
  if count == 1:
    return score >= score.max(1, keepdims=True)
  if count > CANDIDATES:
    return score >= _bar(score, jnp.ones_like(score), count)
  return score >= ranking.top(score, min(count, score.shape[1]))[0][:, -1:]


CANDIDATES = 128  # that a mass is looked for in first


def within_mass(score, p, mass, least=1):
  """Returns which have less than `mass` of p ranked above them: bool [n, v].

  That is, the fewest tokens of greatest score whose p sum to `mass` or more;
  of equal scores the first are taken. At least `least` tokens.

  Args:
    score: float32 [n, v].
    p: float32 [n, v].
    mass: float.
    least: int.
  """
  if least > 1:
    fewest = within_mass(score, jnp.ones_like(score), least)
    return fewest | within_mass(score, p, mass)
  bar = _bar(score, p, mass)
  ties = score == bar

  def fewest():
    above = jnp.where(score > bar, p, 0).sum(1, keepdims=True)
    tied = jnp.where(ties, p, 0)
    before = above + jnp.cumsum(tied, axis=1) - tied
    return (score > bar) | (ties & (before < mass))

  # The sum over a vocabulary costs more than the rest, and is seldom needed.
  several = (ties.sum(1) > 1).any()
  return jax.lax.cond(several, fewest, lambda: score >= bar)


def _bar(score, p, mass):
  # The least score [n, 1] that is within the mass. It is looked for among the
  # best few; where those have less, as a nearly uniform distribution's do, in
  # the whole vocabulary.
  scores, index = ranking.top(score, min(CANDIDATES, score.shape[1]))
  upto = jnp.cumsum(jnp.take_along_axis(p, index, axis=1), axis=1)
  before = jnp.pad(upto[:, :-1], [(0, 0), (1, 0)])
  few = (upto[:, -1] >= mass).all()

  def among_few(score, p):
    return jnp.where(before < mass, scores, jnp.inf).min(1, keepdims=True)

  return jax.lax.cond(few, among_few, lambda *a: _among_all(*a, mass), score, p)


def _among_all(score, p, mass):
  # The bar is found bit by bit, in 32 passes: sorting a vocabulary takes
  # several times longer.
  bits = jax.lax.bitcast_convert_type(score + 0.0, jnp.uint32)  # -0 is 0
  flip = jnp.where(bits >> 31 == 1, ~jnp.uint32(0), jnp.uint32(1 << 31))
  rank = bits ^ flip  # whole numbers in the order of the scores

  def narrow(i, bar):
    higher = bar | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
    above = jnp.where(rank > higher, p, 0).sum(1, keepdims=True)
    return jnp.where(above >= mass, higher, bar)

  bar = jnp.zeros((len(score), 1), jnp.uint32)
  bar = jax.lax.fori_loop(0, 32, narrow, bar)
  return jnp.where(rank > bar, score, jnp.inf).min(1, keepdims=True)
