"""Regression in context: prompts, model, objective and evaluator.

A prompt is x_1, y_1, ..., x_k, y_k with y = w . x + noise and a w of its own
(Garg et al. 2022, 2208.01066). The model predicts each y from what is before
it. Inputs have d + 1 entries, y in the first and x in the others, as in
Raventos et al. 2023 (2306.15063); Garg et al. put y into x's first.
Plug-ins of experiments/icl_regression.py and experiments/task_diversity.py.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.experiments import theory
from ctxlm.lab import verdicts
from ctxlm.models import layers, transformer
from ctxlm.objectives import losses


@dataclasses.dataclass(frozen=True)
class Source:
  """Linear prompts.

  Attributes:
    dim: d of x ~ N(0, I).
    points: k pairs a prompt.
    sparsity: how many of w's entries are not 0, drawn for every prompt; 0 is
      all. They're scaled so that |w|^2 has mean d, as otherwise.
    noise: standard deviation of y's noise.
    tasks: size of the pool that w is drawn from; 0 draws w afresh, N(0, I).
      Pools are nested, and the same for every seed.
    curriculum_steps: over so many first steps, d and k grow from a quarter
      of theirs to the whole: the rest of x is 0, and of the prompt not asked.
    num_examples: of an evaluation.
  """

  dim: int = 5
  points: int = 11
  sparsity: int = 0
  noise: float = 0.0
  tasks: int = 0
  curriculum_steps: int = 0
  num_examples: int = 1024

  def pool(self):
    """Returns the tasks, float32 [m, d]."""
    # Rows of one stream, so that a larger pool begins with a smaller one.
    rng = np.random.default_rng(101)
    return rng.standard_normal((self.tasks, self.dim)).astype(np.float32)

  def example(self, key, step=None):
    """Returns 'xs' [k, d], 'ys' [k] and 'weights' [k].

    `step` is that of training, which the curriculum goes by; None is the end.
    """
    ones, rows, noise, support = jax.random.split(key, 4)
    d, k = self.dim, self.points
    xs = jax.random.normal(ones, (k, d))
    weights = jnp.ones(k)
    if self.tasks:
      pool = jnp.asarray(self.pool())
      w = pool[jax.random.randint(rows, (), 0, self.tasks)]
    else:
      w = jax.random.normal(rows, (d,))
    if self.sparsity:
      order = jax.random.permutation(support, d)
      w = jnp.where(order < self.sparsity, w, 0) * (d / self.sparsity) ** 0.5
    if self.curriculum_steps and step is not None:
      share = 0.25 + 0.75 * jnp.minimum(step / self.curriculum_steps, 1.0)
      xs = jnp.where(jnp.arange(d) < jnp.ceil(share * d), xs, 0.0)
      weights = (jnp.arange(k) < jnp.ceil(share * k)).astype(jnp.float32)
    ys = jnp.matmul(xs, w, precision='highest')
    ys += self.noise * jax.random.normal(noise, (k,))
    return {'xs': xs, 'ys': ys, 'weights': weights}


class Model(transformer.Options, nn.Module):
  """A decoder with linear maps in and out; see transformer.Options."""

  def __post_init__(self):
    transformer.Options.__post_init__(self)
    nn.Module.__post_init__(self)

  @nn.compact
  def __call__(self, xs, ys, rows=None):
    """Returns predictions of ys [b, k] of xs [b, k, d] and ys [b, k]."""
    b, k, d = xs.shape
    o = self.options
    x_rows = jnp.concatenate([jnp.zeros((b, k, 1)), xs], -1)
    y_rows = jnp.concatenate([ys[..., None], jnp.zeros((b, k, d))], -1)
    tokens = jnp.stack([x_rows, y_rows], 2).reshape(b, 2 * k, d + 1)
    hidden = layers.Linear(o.hidden_size, name='read_in')(tokens)
    positions = jnp.arange(2 * k)[None]
    if o.position == 'learned':
      table = nn.Embed(
        o.max_length,
        o.hidden_size,
        embedding_init=layers.normal(o.init_stddev),
        name='position_embed',
      )
      hidden += table(positions)
    hidden = layers.Stack(o, o.num_layers, causal=True, name='stack')(
      hidden, positions=positions, rows=rows
    )
    return layers.Linear(1, name='read_out')(hidden[:, 0::2])[..., 0]


@dataclasses.dataclass(frozen=True)
class Objective:
  """Mean squared error of every y in the prompt, over d."""

  max_length: int = 22

  terms = {'loss': 1.0}

  def loss(self, apply, params, batch, rng):
    """Returns sums of squared errors over d ('loss')."""
    rows = losses.rows(batch, rng)
    out = apply(
      params, lambda model: model(batch['xs'], batch['ys'], rows), rng
    )
    weights = batch['weights'] * batch['valid'][:, None]
    errors = (out - batch['ys']) ** 2 / batch['xs'].shape[-1]
    return {'loss': ((errors * weights).sum(), weights.sum())}


def forward(model, xs, ys):
  """Returns predictions [b, k]."""
  return model(xs, ys)


def prompts(source, seed):
  """Returns (xs, ys) of `num_examples` fixed prompts, float32 numpy."""
  keys = jax.random.split(jax.random.key(seed), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  return batch['xs'], batch['ys']


def error(predictions, ys, dim):
  """Returns squared error / d of each place, float64 [k]: a mean of prompts."""
  return ((np.asarray(predictions, np.float64) - ys) ** 2).mean(0) / dim


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Errors of the model and of theory, place by place."""

  def run(self, bench):
    """Returns error_I after I examples, NAME_I of theory, and intervals.

    'below_low' and 'below_high' bound least squares' error minus the model's
    over d / 2 to 0.7 d examples, see verdicts.bootstrap; 'above' is the model's
    minus Bayes' over all, see verdicts.excess.
    """
    source = bench.task().source
    xs, ys, lines = fixed(source)
    out, _ = bench.call(forward, xs, ys)
    lines, metrics = {'error': np.asarray(out, np.float64), **lines}, {}
    for name, values in lines.items():
      errors = error(values, ys, source.dim)
      metrics |= {f'{name}_{i}': e for i, e in enumerate(errors)}
    d = source.dim
    own, line, bayes = (
      (lines[name] - ys) ** 2 / d
      for name in ('error', 'least_squares', 'bayes')
    )
    gain = (line - own)[:, halfway(d)].mean(1)
    low, high = verdicts.bootstrap(gain)
    metrics |= verdicts.excess((own - bayes).mean(1))
    return metrics | {'below_low': low, 'below_high': high}


def halfway(dim):
  """Returns the slice of places after d / 2 to 0.7 d examples.

  After d least squares knows all, and before d / 2 nobody much.
  """
  return slice((dim + 1) // 2, 7 * dim // 10 + 1)


@functools.cache
def fixed(source):
  """Returns (xs, ys, theory's predictions) of the prompts of evaluation."""
  xs, ys = prompts(source, 2024)
  lines = {
    'least_squares': theory.least_squares(xs, ys),
    'averaging': theory.averaging(xs, ys),
    'nearest_neighbours': theory.nearest_neighbours(xs, ys),
  }
  if not source.sparsity:
    return xs, ys, lines | {'bayes': lines['least_squares']}
  few = prompts(dataclasses.replace(source, num_examples=64), 7)

  def total(penalty):
    return error(theory.lasso(*few, penalty), few[1], 1).sum()

  penalty = min((0.01, 0.1, 0.3), key=total)
  lines['lasso'] = theory.lasso(xs, ys, penalty)
  lines['bayes'] = theory.sparse_posterior_mean(xs, ys, source.sparsity)
  return xs, ys, lines
