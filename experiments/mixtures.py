"""A language model alone, and mixed with counts, a cache and neighbours.

The judgement of experiments/lm_ladder.py, on one stream of words. What a
mixture hangs on is chosen on the validation words: weights by expectation
maximization, the cache's theta and the neighbours' temperature by their grids.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import context, plugins
from ctxlm.context import em, nearest, neural_cache, search
from ctxlm.data import framing
from ctxlm.data.sources import splits
from ctxlm.lab import verdicts
from ctxlm.models import counts, ngram
from ctxlm.ranges import Count

ORDERS = 1, 3, 4, 5  # of the counts; the last are mixed with
BLOCK = 1000  # words of a block of the bootstrap
QUERIES = 256  # states that look into a cache at a time
NEIGHBOURS = 64


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """A model alone, and mixed with counts, a cache and neighbours.

  Attributes:
    window: words that the model reads at a time.
    rows: windows at a time.
    asked: words of a split that neighbours are asked for, at most.
  """

  window: Count = 128
  rows: Count = 16
  asked: Count = 10000

  def run(self, bench):
    """Returns perplexities on the test words, weights, gains and their ends.

    Gains are in nats a word, from the model alone; `X_low` is where the 95 %
    interval of X's gain begins.
    """
    found, streams = self.streams(bench)
    vocab_size, train = bench.model.vocab_size, streams['train']
    judged = {s: streams[s] for s in ('validation', 'test')}
    for order in ORDERS:
      model = ngram.Model(vocab_size=vocab_size, order=order)
      table = counts.Lookup(model, model.count(train, _begins(train)))
      by_counts = {s: table(x, _begins(x))[1:] for s, x in judged.items()}
      found[f'counts_{order}'] = _perplexity(by_counts['test'])
      found[f'counts_{order}_validation'] = _perplexity(by_counts['validation'])
    own, states = self.read(bench, judged)
    targets = {s: x[1:] for s, x in judged.items()}
    half = _mix(own['test'], by_counts['test'], 0.5)
    found |= {'alone': _perplexity(own['test']), 'half': _perplexity(half)}
    flat = {s: np.zeros((len(x), 1), np.float32) for s, x in targets.items()}
    grid = neural_cache.Context.grid['theta']
    found |= best_cache('cache', own, states, targets, 500, grid)
    found |= best_cache('counts_cache', by_counts, flat, targets, 200, (0.0,))
    few = {s: x[: self.asked] for s, x in own.items()}
    _, keys = self.read(bench, {'train': train})
    near = {s: _nearest(keys['train'], states[s][: self.asked]) for s in judged}

    def neighbours(split, temperature):
      distances, places = near[split]
      said = context.tally_of(
        -distances[None] / temperature,
        jnp.asarray(train[1:])[places][None],
        targets[split][None, : self.asked],
        jnp.asarray(few[split], jnp.float32)[None],
      )
      return said[0]

    grid = nearest.Neighbours.grid['temperature']
    return found | _best('nearest', neighbours, grid, few)

  def streams(self, bench):
    """Returns ({'SPLIT_words': how many}, {split: its ids int32 [t]})."""
    frame = framing.document(bench.tokenizer)
    data = bench.config.tasks[bench.task().name].data
    source = plugins.build('data.sources', data)
    found, streams = {}, {}
    for split in splits.SPLITS:
      own = bench.tokenizer.encode(source.records(split)[0]['text'], data=True)
      found[f'{split}_words'] = len(own)
      if bench.enough(len(own)):  # a rehearsal's
        own = own[: self.window]
      streams[split] = np.array(frame(own)[: None if split == 'train' else -1])
    return found, streams

  def read(self, bench, streams):
    """Returns log p of each word but the first, and the states before them.

    ({split: float32 [t - 1]}, {split: float32 [t - 1, m]}).
    """
    read = {s: self._read(bench, x) for s, x in streams.items()}
    return tuple({s: read[s][i] for s in streams} for i in (0, 1))

  def _read(self, bench, stream):
    # (log p of each word but the first [t], the states before them [t, m]).
    half, last = self.window // 2, len(stream) - 2
    begins = np.arange(max(1, -(-(last + 1) // half) - 1)) * half
    at = np.minimum(begins[:, None] + np.arange(2 * half), last)
    found = []
    for start in range(0, len(at), self.rows):
      own = at[np.minimum(np.arange(start, start + self.rows), len(at) - 1)]
      found.append(
        jax.device_get(bench.call(_said, stream[own], stream[own + 1])[0])
      )
    whole = (np.concatenate(x)[: len(at)] for x in zip(*found))
    return [
      np.concatenate([x[0, :half], *x[:, half:]])[: last + 1] for x in whole
    ]


def _said(model, tokens, targets):
  hidden = model(tokens)
  logps = jax.nn.log_softmax(model.logits(hidden))
  own = jnp.take_along_axis(logps, targets[..., None], axis=-1)[..., 0]
  return own, hidden.astype(jnp.float32)


def _begins(stream):
  return np.arange(len(stream)) == 0


def _perplexity(logps):
  return np.exp(-np.mean(logps))


def _mix(a, b, share):
  # log p of each word by (1 - share) a + share b.
  return np.logaddexp(np.log1p(-share) + a, np.log(share) + b)


def _best(name, function, grid, own):
  # Chosen on the validation words and judged on the test's.
  def fitted(option):
    said = np.asarray(function('validation', option), float)
    weights, nats = em.fit(np.stack([own['validation'], said], axis=1))
    return nats, option, np.clip(weights[1], 1e-9, 1 - 1e-9)

  _, option, share = min(map(fitted, grid))
  said = np.asarray(function('test', option), float)
  gains = _mix(own['test'], said, share) - own['test']
  size = min(BLOCK, len(gains))
  blocks = gains[: len(gains) // size * size].reshape(-1, size).mean(axis=1)
  return {
    name: _perplexity(own['test'] + gains),
    f'{name}_gain': gains.mean(),
    f'{name}_low': verdicts.bootstrap(blocks)[0],
    f'{name}_share': share,
    f'{name}_option': option,
  }


def best_cache(name, own, states, targets, window, grid):
  """Returns what a cache brings, its theta of a grid and its weight the best.

  All are by split: chosen on 'validation' and judged on 'test'.

  Args:
    name: of the figures, NAME, NAME_gain, NAME_low, NAME_share, NAME_option.
    own: float32 [t], log p of each word by the model.
    states: [t, m], before each word.
    targets: int32 [t], the words.
    window, grid: see neural_cache.Context; values of theta.
  """

  def said(split, theta):
    logps = jnp.asarray(own[split], jnp.float32)
    return _cached(states[split], targets[split], logps, theta, window)

  return _best(name, said, grid, own)


@functools.partial(jax.jit, static_argnames='window')
def _cached(states, targets, own, theta, window):
  """Returns log p float32 [t] of neural_cache over a stream, block by block.

  Args:
    states: [t, m], before each word.
    targets: int32 [t], the words.
    own: float32 [t], log p of the model.
    theta, window: see neural_cache.Context.
  """
  count, blocks = len(targets), -(-len(targets) // QUERIES)
  after = blocks * QUERIES - count
  states = jnp.pad(jnp.asarray(states), [(window, after), (0, 0)])
  targets, own = (
    jnp.pad(x, (window, after), constant_values=neural_cache.NONE)
    for x in (jnp.asarray(targets), own)
  )
  place = jnp.arange(window + QUERIES)
  back = place[window:, None] - place
  near = (back > 0) & (back <= window)

  def block(start):
    keys, words, logps = (
      jax.lax.dynamic_slice_in_dim(x, start, window + QUERIES)
      for x in (states, targets, own)
    )
    scores = theta * (keys[window:] @ keys.T)
    seen = near & (words != neural_cache.NONE)
    scores = jnp.where(seen, scores, -jnp.inf)[None]
    now = words[window:][None], logps[window:][None]
    return context.tally_of(scores, words[None, None], *now)[0]

  said = jax.lax.map(block, jnp.arange(blocks) * QUERIES)
  return said.reshape(-1)[:count]


@jax.jit
def _nearest(keys, states):
  norms = jnp.square(keys).sum(axis=1)
  return search.nearest(keys, norms, states, min(NEIGHBOURS, len(keys)))
