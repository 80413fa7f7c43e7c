"""Classes of vectors and their labels: sequences, model and judgement.

A sequence is x_1, label_1, ..., x_n, label_n, x, whose label is asked (Reddy
2024, 2312.03002). A class is a mean mu ~ N(0, I / d) and a label, and its items
are (mu + noise eta) / sqrt(1 + noise^2), eta ~ N(0, I / d). A label can be
known from the weights, or from an item of the same class in the context.
Plug-ins of experiments/icl_vs_iwl.py.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.experiments import bayes
from ctxlm.lab import verdicts
from ctxlm.models import layers, transformer
from ctxlm.objectives import losses

KINDS = 'in_context', 'in_weights', 'flipped'


@dataclasses.dataclass(frozen=True)
class Source:
  """Sequences to learn from.

  Attributes:
    dim: d.
    num_classes: K; means and labels are the same for every seed, and those of
      fewer classes are the first ones of more.
    num_labels: L; of class k it is k mod L.
    pairs: n.
    burstiness: B copies of a class in the context, of n / B classes of which
      one is asked; 0 draws every item's class, and the one that is asked, by
      itself.
    noise: within a class.
    zipf: a; class k has a probability of 1 / (k + 1)^a.
    num_examples: of a kind in an evaluation.
  """

  dim: int = 63
  num_classes: int = 512
  num_labels: int = 32
  pairs: int = 8
  burstiness: int = 2
  noise: float = 0.75
  zipf: float = 0.0
  num_examples: int = 1024

  def __post_init__(self):
    if self.burstiness and self.pairs % self.burstiness:
      raise ValueError(
        f'pairs={self.pairs} is not divisible by burstiness={self.burstiness}'
      )
    if not self.pairs <= self.num_labels <= self.num_classes:
      raise ValueError('pairs <= num_labels <= num_classes must hold')

  @property
  def means(self):
    """Returns the classes' means, float32 [K, d]."""
    return _means(self.num_classes, self.dim)

  @property
  def shares(self):
    """Returns P(class), float64 [K]."""
    weights = (1.0 + np.arange(self.num_classes)) ** -self.zipf
    return weights / weights.sum()

  def example(self, key, step=None):
    """Returns 'xs' [n + 1, d], 'labels' int32 [n] and 'target' int32 []."""
    which, order, noise = jax.random.split(key, 3)
    n, b = self.pairs, self.burstiness
    u = jax.random.uniform(which, (n // b if b else n + 1,))
    upto = jnp.asarray(self.shares.cumsum(), jnp.float32)
    classes = jnp.searchsorted(upto, u).clip(0, self.num_classes - 1)
    if b:
      # The order is random, so the first one's class is as good as any.
      context = jax.random.permutation(order, jnp.repeat(classes, b))
      classes = jnp.append(context, classes[0])
    eta = jax.random.normal(noise, (n + 1, self.dim)) / self.dim**0.5
    xs = jnp.asarray(self.means)[classes] + self.noise * eta
    labels = classes % self.num_labels
    return {
      'xs': xs / (1 + self.noise**2) ** 0.5,
      'labels': labels[:-1],
      'target': labels[-1],
    }


@functools.cache
def _means(count, dim):
  rng = np.random.default_rng(101)
  return (rng.standard_normal((count, dim)) / dim**0.5).astype(np.float32)


class Model(transformer.Options, nn.Module):
  """A decoder that reads vectors and labels; see transformer.Options.

  What it says of the last vector goes through three maps with ReLUs between
  (Reddy 2024); vocab_size is the number of labels.
  """

  def __post_init__(self):
    transformer.Options.__post_init__(self)
    nn.Module.__post_init__(self)

  @nn.compact
  def __call__(self, xs, labels, rows=None):
    """Returns logits [b, L] of the last of xs [b, n + 1, d], labels [b, n]."""
    o, (b, n) = self.options, labels.shape
    init = layers.normal(o.init_stddev)

    def embed(count, name):
      return nn.Embed(count, o.hidden_size, embedding_init=init, name=name)

    items = layers.Linear(o.hidden_size, name='read_in')(xs)
    told = embed(o.vocab_size, 'label_embed')(labels)
    pairs = jnp.stack([items[:, :-1], told], 2).reshape(b, 2 * n, -1)
    hidden = jnp.concatenate([pairs, items[:, -1:]], 1)
    positions = jnp.arange(2 * n + 1)[None]
    if o.position == 'learned':
      hidden += embed(o.max_length, 'position_embed')(positions)
    hidden = layers.Stack(o, o.num_layers, causal=True, name='stack')(
      hidden, positions=positions, rows=rows
    )[:, -1]
    for i in range(2):
      hidden = nn.relu(nn.Dense(2 * o.hidden_size, name=f'mlp_{i}')(hidden))
    return nn.Dense(o.vocab_size, name='read_out')(hidden)


@dataclasses.dataclass(frozen=True)
class Objective:
  """The label of the last item."""

  max_length: int = 17

  terms = {'loss': 1.0}

  def loss(self, apply, params, batch, rng):
    """Returns sums of nats ('loss') and right labels ('accuracy')."""
    rows = losses.rows(batch, rng)
    out = apply(
      params, lambda model: model(batch['xs'], batch['labels'], rows), rng
    )
    return {
      'loss': losses.cross_entropy(out, batch['target'], batch['valid']),
      'accuracy': losses.accuracy(out, batch['target'], batch['valid']),
    }


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """What is known from the context, and what from the weights.

  Attributes:
    burstiness: copies of a class in the contexts, for all runs alike.
  """

  burstiness: int = 2

  def run(self, bench):
    """Returns accuracies; KIND is of KINDS, see `judged`.

    KIND, the model's; KIND_bayes, of the best there is, and KIND_above and
    KIND_above_error, how much worse the model is, see verdicts.excess, but of
    flipped labels, where 'by_weights' is how often they are answered as in
    training; 'loss' and 'accuracy' on sequences as in training.
    """
    task = bench.task()
    sums = bench.sums(task, 'validation')
    metrics = {name: n / d for name, (n, d) in sums.items()}
    for kind, (batch, best) in fixed(task.source, self.burstiness).items():
      out, _ = bench.call(forward, batch['xs'], batch['labels'])
      guess = np.asarray(out).argmax(-1)
      right = guess == batch['target']
      metrics[kind] = right.mean()
      if best is None:
        metrics['by_weights'] = (guess == batch['known']).mean()
        continue
      metrics[f'{kind}_bayes'] = (best == batch['target']).mean()
      more = verdicts.excess((best == batch['target']).astype(float) - right)
      metrics |= {f'{kind}_{name}': value for name, value in more.items()}
    return metrics


def forward(model, xs, labels):
  """Returns logits [b, L]."""
  return model(xs, labels)


@functools.cache
def fixed(source, burstiness):
  """Returns {kind: (batch, Bayes' labels [b])} that all runs are judged on.

  Of flipped labels there is no best one: None.
  """
  context, weights, flipped = (judged(source, burstiness, k) for k in KINDS)
  by_context = bayes.label_in_context(
    context['xs'], context['labels'], source.num_labels, source.noise
  )
  by_weights = bayes.label_in_weights(
    weights['xs'][:, -1],
    weights['labels'],
    source.means,
    source.shares,
    source.num_labels,
    source.noise,
  )
  return {
    'in_context': (context, by_context.argmax(-1)),
    'in_weights': (weights, by_weights.argmax(-1)),
    'flipped': (flipped, None),
  }


def judged(source, burstiness, kind):
  """Returns 'xs' [b, n + 1, d], 'labels' [b, n], 'target' [b], 'known' [b].

  Args:
    source: Source.
    burstiness: copies of a class in the context, whose classes all have other
      labels.
    kind: 'in_context', classes that were never seen, with labels drawn by lot,
      one of them asked; 'in_weights', a context of known classes, and a known
      one asked whose label isn't there; 'flipped', known classes with labels
      drawn by lot, one of them asked whose own label, 'known', isn't there.
  """
  rng = np.random.default_rng(2024)
  groups, l = source.pairs // burstiness, source.num_labels
  out = {'xs': [], 'labels': [], 'target': [], 'known': []}
  for _ in range(source.num_examples):
    classes = _others(source, groups, rng)
    means, labels = source.means[classes], classes % l
    asked, target = means[0], labels[0]
    known = target
    if kind == 'in_context':
      means = rng.standard_normal(means.shape) / source.dim**0.5
      asked, labels = means[0], rng.choice(l, groups, replace=False)
      target = labels[0]
    elif kind == 'flipped':
      left = np.setdiff1d(np.arange(l), [known])
      labels = rng.choice(left, groups, replace=False)
      target = labels[0]
    else:
      shares = source.shares * ~np.isin(
        np.arange(len(source.means)) % l, labels
      )
      k = rng.choice(len(shares), p=shares / shares.sum())
      asked, target, known = source.means[k], k % l, k % l
    order = rng.permutation(np.repeat(np.arange(groups), burstiness))
    clean = np.concatenate([means[order], asked[None]])
    eta = rng.standard_normal(clean.shape) / source.dim**0.5
    xs = (clean + source.noise * eta) / (1 + source.noise**2) ** 0.5
    for name, value in zip(out, (xs, labels[order], target, known)):
      out[name].append(value)
  return {
    name: np.array(values, np.float32 if name == 'xs' else np.int32)
    for name, values in out.items()
  }


def _others(source, count, rng):
  # Classes by their shares, each with a label that no one before has.
  classes = []
  while len(classes) < count:
    k = rng.choice(source.num_classes, p=source.shares)
    if all((k - other) % source.num_labels for other in classes):
      classes.append(k)
  return np.array(classes)
