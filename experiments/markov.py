"""Sequences of Markov chains, which several experiments learn from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Source:
  """Sequences of one Markov chain each.

  Attributes:
    kind: 'chain', every row of the transitions is Dirichlet(1); or 'trigger',
      one fixed chain over all sequences, except that each of the `triggers`
      most frequent tokens has one next token, drawn anew for every sequence.
    num_symbols: v.
    length: tokens that the model sees.
    triggers: how many.
    num_examples: of an evaluation.
  """

  kind: str = 'chain'
  num_symbols: int = 3
  length: int = 100
  triggers: int = 5
  num_examples: int = 512

  def example(self, key, step=None):
    """Returns a causal task's features; 'asked' marks outputs to recall."""
    first, rows, steps = jax.random.split(key, 3)
    v = self.num_symbols
    if self.kind == 'chain':
      # Normalised exponentials are Dirichlet(1).
      transition = jax.random.exponential(rows, (v, v))
      transition /= transition.sum(-1, keepdims=True)
      start = jax.lax.fori_loop(
        0, 50, lambda _, p: p @ transition, jnp.full(v, 1 / v)
      )
      known = jnp.zeros(v, bool)
    else:
      base, start, order = fixed_chain(v)
      triggers, others = order[: self.triggers], order[self.triggers :]
      # A trigger that follows a trigger would go round in circles.
      out = jax.random.choice(rows, others, (self.triggers,))
      transition = jnp.asarray(base).at[triggers].set(jax.nn.one_hot(out, v))
      known = jnp.zeros(v, bool).at[triggers].set(True)
    upto = transition.cumsum(-1)

    def draw(cumulated, u):
      return (u * cumulated[-1] > cumulated).sum().astype(jnp.int32)

    def step(carry, u):
      token, seen = carry
      after = draw(upto[token], u)
      asked = known[token] & seen[token]
      return (after, seen.at[token].set(True)), (token, after, asked)

    uniform = jax.random.uniform(steps, (self.length,))
    begin = draw(start.cumsum(), jax.random.uniform(first)), jnp.zeros(v, bool)
    _, (tokens, targets, asked) = jax.lax.scan(step, begin, uniform)
    return {
      'tokens': tokens,
      'targets': targets,
      'weights': jnp.ones(self.length),
      'segment_ids': jnp.ones(self.length, jnp.int32),
      'positions': jnp.arange(self.length),
      'asked': asked,
    }


@functools.cache
def fixed_chain(num_symbols):
  """Returns (transitions, stationary distribution, most frequent first)."""
  rng = np.random.default_rng(0)
  base = rng.dirichlet(np.full(num_symbols, 0.2), num_symbols)
  stationary = np.linalg.matrix_power(base, 512)[0]
  order = np.argsort(-stationary)
  return base.astype(np.float32), stationary.astype(np.float32), order
