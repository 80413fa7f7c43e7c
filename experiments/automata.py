"""Regular languages in context: their automata, strings and n-grams.

Every sequence has a language of its own, and is strings of it, each behind a
separator (Akyurek et al. 2024, 2401.12973, section 3). An automaton goes from
state to state by symbols; a state allows some, each as likely, and all states
accept. Plug-ins of experiments/icll.py.
"""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.lab import verdicts
from ctxlm.objectives import losses

ORDERS = 1, 2, 3  # of the n-grams


@dataclasses.dataclass(frozen=True)
class Source:
  """Strings of random automata.

  Attributes:
    symbols: v, of which a language has as many as states; the token v is the
      separator.
    least, states: how many states an automaton has, from `least` to `states`.
    edges: symbols that a state allows at most, and one at least, each to
      another state.
    longest: symbols of a string at most, and one at least.
    length: tokens that the model sees.
    num_examples: of an evaluation.
  """

  symbols: int = 8
  least: int = 4
  states: int = 6
  edges: int = 3
  longest: int = 12
  length: int = 128
  num_examples: int = 256

  def __post_init__(self):
    if not self.edges < self.least <= self.states <= self.symbols:
      raise ValueError('edges < least <= states <= symbols must hold')

  def automaton(self, key):
    """Returns the state after each symbol, int32 [states, v]; -1 is none.

    States are 0, which begins, to their number; the rest is never reached.
    """
    size, alphabet, edges, where, to = jax.random.split(key, 5)
    s, v, e = self.states, self.symbols, self.edges
    count = jax.random.randint(size, (), self.least, s + 1)
    own = jax.random.permutation(alphabet, v) < count
    there = (jnp.arange(s) < count) & ~jnp.eye(s, dtype=bool)

    def pick(key, among):  # without replacement
      noise = jax.random.gumbel(key, (s, among.shape[-1]))
      return jax.lax.top_k(jnp.where(among, noise, -jnp.inf), e)[1]

    allowed = jax.random.randint(edges, (s, 1), 1, e + 1)
    after = jnp.where(jnp.arange(e) < allowed, pick(to, there), -1)
    empty = jnp.full((s, v), -1)
    return empty.at[jnp.arange(s)[:, None], pick(where, own)].set(after)

  def example(self, key, step=None):
    """Returns 'tokens', 'targets' int32 [l] and 'weights' [l], 0 of separators.

    And 'automaton', see above, and 'states' int32 [l], before each target.
    """
    which, draws = jax.random.split(key)
    moves, v = self.automaton(which), self.symbols

    def move(carry, u):
      state, left = carry
      upto = (moves[state] >= 0).cumsum()
      symbol = (upto <= jnp.floor(u[0] * upto[-1])).sum().clip(0, v - 1)
      ends = left == 0
      drawn = 1 + jnp.floor(u[1] * self.longest).astype(jnp.int32)
      after = jnp.where(ends, 0, moves[state, symbol])
      left = jnp.where(ends, drawn, left - 1)
      return (after, left), (jnp.where(ends, v, symbol), state)

    uniform = jax.random.uniform(draws, (self.length + 1, 2))
    _, (tokens, states) = jax.lax.scan(move, (0, 0), uniform)
    return {
      'tokens': tokens[:-1],
      'targets': tokens[1:],
      'weights': (tokens[1:] < v).astype(jnp.float32),
      'automaton': moves,
      'states': states[1:],
    }


@dataclasses.dataclass(frozen=True)
class Objective:
  """The next symbol, of rows that are one sequence each."""

  max_length: int = 128

  terms = {'loss': 1.0}

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right symbols ('accuracy')."""
    rows = losses.rows(batch, rng)
    out = apply(
      params, lambda model: model.logits(model(batch['tokens'], rows=rows)), rng
    )
    weights = batch['weights'] * batch['valid'][:, None]
    return losses.smoothed(out, batch['targets'], weights, 0.0)


def minimal(moves):
  """Returns the least automaton of the same language, a tuple of its states.

  Each is a tuple of the states after the symbols, -1 for none, numbered as they
  are met from the first one, 0; so languages are equal if these are. States are
  told apart by what they allow, then by where that leads (Moore 1956).

  Args:
    moves: int [states, v]; all states accept, and 0 begins.

  >>> minimal([[1, -1], [2, -1], [1, -1], [0, 0]])
  ((0, -1),)
  """
  moves = np.asarray(moves)
  met = [0]
  for state in met:  # which grows
    met += [s for s in dict.fromkeys(moves[state]) if s >= 0 and s not in met]
  kinds, count = dict.fromkeys(met, 0), 0
  while len(set(kinds.values())) > count:
    count = len(set(kinds.values()))
    told = {
      s: (kinds[s], *(kinds[t] if t >= 0 else -1 for t in moves[s]))
      for s in met
    }
    numbers = {told[s]: i for i, s in enumerate(met)}
    kinds = {s: numbers[told[s]] for s in met}
  order, out = [kinds[0]], []
  member = {kind: s for s, kind in kinds.items()}
  for kind in order:  # which grows
    row = [kinds[t] if t >= 0 else -1 for t in moves[member[kind]]]
    order += [k for k in dict.fromkeys(row) if k >= 0 and k not in order]
    out.append(tuple(order.index(k) if k >= 0 else -1 for k in row))
  return tuple(out)


def ngrams_in_context(tokens, order, num_symbols):
  """Returns P(next symbol | tokens so far) by counts, float64 [b, l, v].

  Of histories of up to order - 1 tokens in the sequence itself, which end at a
  separator, by Witten and Bell: (c(h w) + d(h) p(w | h')) / (c(h) + d(h)), with
  d(h) different symbols after h and h' a token less; below, 1 / v.

  Args:
    tokens: int [b, l]; num_symbols is the separator, which isn't predicted.
    order: 1 or more.
    num_symbols: v.

  >>> ngrams_in_context(np.array([[2, 0, 2]]), 1, 2).round(2).tolist()
  [[[0.5, 0.5], [0.75, 0.25], [0.75, 0.25]]]
  """
  out = np.empty((*tokens.shape, num_symbols))
  for row, said in zip(tokens.tolist(), out):
    counts = collections.defaultdict(lambda: np.zeros(num_symbols))
    begin, before = 0, ()
    for t, token in enumerate(row):
      if token == num_symbols:
        begin = t
      else:
        for history in before:
          counts[history][token] += 1
      least = max(begin, t - order + 2)
      before = [tuple(row[i : t + 1]) for i in range(t + 1, least - 1, -1)]
      p = np.full(num_symbols, 1 / num_symbols)
      for history in before:
        if history in counts:
          own = counts[history]
          kinds = (own > 0).sum()
          p = (own + kinds * p) / (own.sum() + kinds)
      said[t] = p
  return out


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """A model beside n-grams in context, and beside who knows the language."""

  def run(self, bench):
    """Returns figures over the last quarter of the sequences.

    loss; accuracy, of the likeliest symbol being allowed, and early_accuracy,
    in the first quarter; distance, total variation to who knows the language;
    the same of 1gram, 2gram and 3gram, such as 1gram_loss; to_1gram, ..., the
    model's total variation to those; above and above_error, nats more than
    who knows, see verdicts.excess; states, of the least automata.
    """
    source = bench.task().source
    batch, truth, lines = fixed(source)
    logits, _ = bench.call(forward, batch['tokens'])
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    asked = batch['weights'] > 0
    place = np.arange(source.length)
    late = asked & (place >= 3 * source.length // 4)
    early = asked & (place < source.length // 4)
    metrics = {
      f'{prefix}{name}': value
      for prefix, own in {'': p, **lines}.items()
      for name, value in judged(own, truth, batch['targets'], late).items()
    }
    for name, line in lines.items():
      metrics[f'to_{name}'.strip('_')] = variation(p, line)[late].mean()
    right = judged(p, truth, batch['targets'], early)['accuracy']
    more = _nats(p, batch['targets']) - _nats(truth, batch['targets'])
    mean = (more * late).sum(1) / np.maximum(late.sum(1), 1)
    sizes = [len(minimal(moves)) for moves in batch['automaton']]
    return (
      metrics
      | verdicts.excess(mean)
      | {'early_accuracy': right, 'states': np.mean(sizes)}
    )


def forward(model, tokens):
  """Returns logits [b, l, v + 1]."""
  return model.logits(model(tokens))


def _nats(p, targets):
  own = np.take_along_axis(p, targets[..., None], -1)[..., 0]
  return -np.log(np.maximum(own, 1e-30))


def variation(p, q):
  """Returns the total variation of distributions [..., v]: [...]."""
  return abs(p - q).sum(-1) / 2


def judged(p, truth, targets, where):
  """Returns 'loss', 'accuracy' and 'distance' of predictions.

  Args:
    p, truth: [b, l, v + 1], the predictions and the language's own.
    targets: int [b, l].
    where: bool [b, l], which are judged.
  """
  best = np.take_along_axis(truth, p.argmax(-1)[..., None], -1)[..., 0] > 0
  return {
    'loss': _nats(p, targets)[where].mean(),
    'accuracy': best[where].mean(),
    'distance': variation(p, truth)[where].mean(),
  }


@functools.cache
def fixed(source):
  """Returns (batch, the language's P [b, l, v + 1], {'1gram_': P, ...})."""
  keys = jax.random.split(jax.random.key(2024), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  rows = np.arange(len(keys))[:, None]
  allowed = batch['automaton'][rows, batch['states']] >= 0
  # The separator is never predicted.
  truth = np.pad(
    allowed / allowed.sum(-1, keepdims=True), [(0, 0), (0, 0), (0, 1)]
  )
  lines = {}
  for order in ORDERS:
    said = ngrams_in_context(batch['tokens'], order, source.symbols)
    lines[f'{order}gram_'] = np.pad(said, [(0, 0), (0, 0), (0, 1)])
  return batch, truth, lines
