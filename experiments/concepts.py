"""GINC: documents of hidden Markov models, and prompts of examples from them.

Xie et al. 2022 (2111.02080), section 4, with the settings of its repository's
generate_data.py. A state is a value and a slot, and its symbol a table's entry,
in which slot 0 is the delimiter. Slots follow a mixture of permutations of the
concept's own, values one of all concepts that mostly stays. Both have every
state as often, so that a block of a document begins with any.
Plug-ins of experiments/ginc.py.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from ctxlm.experiments import bayes
from ctxlm.lab import verdicts


@dataclasses.dataclass(frozen=True)
class Source:
  """Blocks of documents, each of one concept; features of a causal task.

  Attributes:
    symbols: v, with the delimiter, 0.
    values, slots: of the states.
    concepts: that documents are of (5; the paper's repository makes 10 and
      keeps half of them back).
    length: tokens that the model sees.
    num_examples: of an evaluation.
  """

  symbols: int = 50
  values: int = 10
  slots: int = 10
  concepts: int = 5
  length: int = 1024
  num_examples: int = 100

  def example(self, key, step=None):
    """Returns a causal task's features."""
    which, first, draws = jax.random.split(key, 3)
    made = world(self)
    slot_upto, value_upto = (
      jnp.asarray(x.cumsum(-1), jnp.float32)
      for x in (made.slot_moves, made.value_moves)
    )
    slot_upto = slot_upto[jax.random.randint(which, (), 0, self.concepts)]
    table = jnp.asarray(made.table)
    begin = jax.random.randint(
      first, (2,), 0, jnp.array([self.values, self.slots])
    )

    def draw(upto, u):
      return (u * upto[-1] > upto).sum().astype(jnp.int32)

    def move(state, u):
      value, slot = state
      after = draw(value_upto[value], u[0]), draw(slot_upto[slot], u[1])
      return after, table[value, slot]

    uniform = jax.random.uniform(draws, (self.length + 1, 2))
    _, symbols = jax.lax.scan(move, (begin[0], begin[1]), uniform)
    return {
      'tokens': symbols[:-1],
      'targets': symbols[1:],
      'weights': jnp.ones(self.length),
      'segment_ids': jnp.ones(self.length, jnp.int32),
      'positions': jnp.arange(self.length),
    }


@dataclasses.dataclass(frozen=True)
class World:
  """What all documents and prompts of a Source share.

  Attributes:
    slot_moves: float64 [c, slots, slots].
    value_moves: float64 [values, values].
    table: int32 [values, slots], the symbols.
  """

  slot_moves: np.ndarray
  value_moves: np.ndarray
  table: np.ndarray

  @property
  def transitions(self):
    """P(next | state), float64 [c, s, s]; state value * slots + slot."""
    return np.stack([np.kron(self.value_moves, x) for x in self.slot_moves])

  def emission(self, symbols):
    """P(symbol | state), float64 [s, v]."""
    return np.eye(symbols)[self.table.ravel()]

  @property
  def starts(self):
    """P(first state) of each slot but 0, any value: float64 [slots - 1, s]."""
    values, slots = self.table.shape
    return np.tile(np.eye(slots), values)[1:] / values


@functools.cache
def world(source):
  """Returns the World of a Source; it is the same for every seed."""
  rng = np.random.default_rng(1111)

  def mixture(size):  # of permutations, at a temperature of 0.1
    shares = special.softmax((rng.random(size) - 0.5) / 0.1)
    eye = np.eye(size)
    return sum(p * eye[rng.permutation(size)] for p in shares)

  values, slots = source.values, source.slots
  table = rng.integers(1, source.symbols, (values, slots)).astype(np.int32)
  table[:, 0] = 0
  value_moves = 0.1 * mixture(values) + 0.9 * np.eye(values)
  slot_moves = np.stack([mixture(slots) for _ in range(source.concepts)])
  return World(slot_moves, value_moves, table)


def prompts(source, length, most, count):
  """Returns 'examples' [b, n, k], 'query' [b, k - 1], 'label' [b], int32.

  Args:
    source: Source.
    length: k tokens of an example.
    most: n examples.
    count: b.
  """
  rng, made = np.random.default_rng(1114 + length), world(source)
  concept = rng.integers(0, source.concepts, count)
  slot = rng.integers(1, source.slots, count)
  values = rng.integers(0, source.values, (count, most + 1))
  slots = np.broadcast_to(slot[:, None], values.shape)
  upto = made.slot_moves.cumsum(-1), made.value_moves.cumsum(-1)
  tokens = np.empty((count, most + 1, length), np.int32)
  for t in range(length):
    tokens[..., t] = made.table[values, slots]
    u = rng.random((2, *values.shape, 1))
    by_concept = upto[0][concept[:, None], slots]
    slots = (u[0] * by_concept[..., -1:] > by_concept).sum(-1)
    values = (u[1] * upto[1][values][..., -1:] > upto[1][values]).sum(-1)
  query = tokens[:, -1, :-1]
  emission, moves = made.emission(source.symbols), made.transitions[concept]
  now = made.starts[slot - 1]
  for symbols in query.T:
    now = np.einsum('bs,bst->bt', now * emission[:, symbols].T, moves)
  label = (now @ emission).argmax(-1).astype(np.int32)
  return {'examples': tokens[:, :-1], 'query': query, 'label': label}


def written(made, count):
  """Returns the prompt of the last `count` examples, int32 [b, l].

  Args:
    made: of `prompts`.
    count: examples, each with a delimiter behind.
  """
  b, n, k = made['examples'].shape
  ended = np.pad(made['examples'][:, n - count :], [(0, 0), (0, 0), (0, 1)])
  return np.concatenate([ended.reshape(b, count * (k + 1)), made['query']], 1)


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """The loss on documents, and what a model answers in context.

  Attributes:
    lengths: k of examples.
    counts: examples in context, the first 0.
    prompts: of each.
    lines: that Bayes is asked too.
    chunk: prompts at a time.
  """

  lengths: tuple = (3, 5, 8, 10)
  counts: tuple = (0, 1, 2, 4, 8, 16, 32, 64)
  prompts: int = 2500
  lines: int = 500
  chunk: int = 125

  def run(self, bench):
    """Returns accuracies for k and n, and the loss on documents, in nats.

    accuracy_k_n, the model's; document_k_n and shared_k_n of Bayes, who takes
    the prompt for a document, or knows how prompts are made; gain_k_low, of the
    most examples' accuracy minus that of none, see verdicts.bootstrap;
    above_k and above_k_error, how much worse than shared the model is with
    the most, see verdicts.excess.
    """
    task, metrics = bench.task(), {}
    sums = bench.sums(task, 'validation')
    metrics['loss'] = sums['loss'][0] / sums['loss'][1]
    for k in self.lengths:
      made, lines = fixed(task.source, k, self.counts, self.prompts, self.lines)
      right = {}
      for n in self.counts:
        told = self._told(bench, written(made, n))
        right[n] = told == made['label']
        metrics[f'accuracy_{k}_{n}'] = right[n].mean()
        for name, values in lines[n].items():
          metrics[f'{name}_{k}_{n}'] = values.mean()
      most = self.counts[-1]
      gain = right[most].astype(float) - right[self.counts[0]]
      metrics[f'gain_{k}_low'] = verdicts.bootstrap(gain)[0]
      best = lines[most]['shared'].astype(float)
      more = verdicts.excess(best - right[most][: len(best)])
      metrics |= {f'{name}_{k}': v for name, v in more.items()}
    return metrics

  def _told(self, bench, tokens):
    # Padded behind to a power of 2, so that few lengths are compiled.
    length = tokens.shape[1]
    size = max(16, 1 << (length - 1).bit_length())
    size = min(size, max(bench.config.max_length, length))
    padded = np.pad(tokens, [(0, 0), (0, size - length)])
    told = []
    for start in range(0, len(padded), self.chunk):
      rows = np.arange(start, start + self.chunk)
      own = padded[np.minimum(rows, len(padded) - 1)]
      told.append(np.asarray(bench.call(forward, own, length - 1)[0]))
    return np.concatenate(told)[: len(tokens)]


def forward(model, tokens, last):
  """Returns the most likely symbol after the place `last`, int [b]."""
  hidden = jnp.take(model(tokens), last, axis=1)
  return model.logits(hidden[:, None])[:, 0].argmax(-1)


@functools.cache
def fixed(source, length, counts, count, lines):
  """Returns (prompts, {n: {line: whether Bayes is right, bool [lines]}})."""
  made, whole = prompts(source, length, counts[-1], count), world(source)
  few = {name: values[:lines] for name, values in made.items()}
  moves, emission = whole.transitions, whole.emission(source.symbols)
  shared = bayes.label_of_examples(
    few['examples'], few['query'], whole.starts, moves, emission
  )
  found = {}
  for n in counts:
    document = bayes.next_of_document(written(few, n), moves, emission)
    found[n] = {
      'shared': shared[:, n].argmax(-1) == few['label'],
      'document': document.argmax(-1) == few['label'],
    }
  return made, found
