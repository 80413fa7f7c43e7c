"""Step functions of known distributions, and a loop to run strategies on."""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.decoding import text as text_lib
from ctxlm.decoding.rules import Rules


def markov(logits):
  """Returns the step of a table: logits [v, v] of the next token, by the last.

  Or [l, v, v], by the last one's place and itself. Its cache counts the
  tokens that were passed, [n].
  """
  logits = jnp.asarray(logits)
  logits = logits if logits.ndim == 3 else logits[None]

  def step(tokens, cache):
    place = cache.count[:, None] + jnp.arange(tokens.shape[1])
    place = jnp.minimum(place, len(logits) - 1)
    return logits[place, tokens], Count(cache.count + tokens.shape[1])

  return step


class Count:
  """The cache of a `markov` step: how many tokens it has seen, [n]."""

  def __init__(self, count):
    self.count = count

  def take(self, rows):
    """See ctxlm.decoding.Cache."""
    return Count(self.count[rows])

  def rewind(self, count):
    """See ctxlm.decoding.Cache."""
    return Count(self.count - count)


jax.tree_util.register_pytree_node(
  Count, lambda c: ((c.count,), None), lambda _, x: Count(*x)
)


def write(
  strategy,
  step,
  prompts,
  *,
  new,
  rules=None,
  seed=0,
  index=None,
  caches=1,
  first=None,
):
  """Runs a strategy on toy steps; returns its result as numpy arrays.

  Args:
    strategy: Strategy.
    step: of `markov`, or a tuple of such.
    prompts: int [n, l].
    new: tokens at most.
    rules: Rules; None has no processor and no end.
    seed, index: see Text.
    caches: how many; 0 gives one that is no tuple.
    first: logits [n, v] of the first token; None asks the (first) step.
  """
  rules = rules or Rules()
  prompts = jnp.asarray(prompts, jnp.int32)
  n, length = prompts.shape
  index = np.arange(n) if index is None else index
  target = step[0] if isinstance(step, tuple) else step

  @jax.jit
  def run(prompts, index, seed):
    text = text_lib.begin(
      prompts,
      jnp.zeros(n, jnp.int32),
      jnp.full(n, new, jnp.int32),
      index,
      seed,
      room=new,
      logps=rules.show_probs,
    )
    text = rules.begin(text)
    rows = n * strategy.siblings
    cache = Count(jnp.full(rows, length, jnp.int32))
    cache = (cache,) * caches if isinstance(step, tuple) else cache
    logits = first
    if logits is None:
      logits, _ = target(prompts[:, -1:], Count(jnp.zeros(n, jnp.int32)))
      logits = logits[:, 0]
    state = strategy.begin(rules, text, logits, cache)
    state = jax.lax.while_loop(
      lambda s: strategy.unfinished(s).any(),
      lambda s: strategy.advance(rules, step, s),
      state,
    )
    return strategy.result(rules, state) | {'cache': _count(state.cache)}

  return jax.device_get(run(prompts, jnp.asarray(index), seed))


def _count(cache):
  first = cache[0] if isinstance(cache, tuple) else cache
  return first.count


def chi_square(counts, expected):
  """Returns the p-value of counts against expected counts (Pearson).

  Cells of less than 5 expected are joined.
  """
  from scipy import stats

  counts, expected = np.ravel(counts), np.ravel(expected)
  assert counts[expected == 0].sum() == 0, 'something impossible was drawn'
  small = expected < 5
  if small.any():
    counts = np.append(counts[~small], counts[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
  counts, expected = counts[expected > 0], expected[expected > 0]
  return stats.chisquare(counts, expected).pvalue
