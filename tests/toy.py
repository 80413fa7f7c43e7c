"""An experiment of a toy size: a line's slope is learned by descent.

Its plug-ins stand beside it; `--config tests/toy.py:SCALE` trains a point.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm import config
from ctxlm.lab import experiment, verdicts

SEEDS = verdicts.Seeds()


@dataclasses.dataclass(frozen=True)
class Source:
  """y = slope x."""

  slope: float = 2.0
  num_examples: int = 20

  def example(self, key, step=None):
    """Returns 'x' and 'y', scalars, and the step that made them."""
    x = jax.random.normal(key)
    made = jnp.int32(-1 if step is None else step)
    return {'x': x, 'y': self.slope * x, 'made': made}


class Model(nn.Module):
  """One weight; vocab_size is not used."""

  vocab_size: int = 1

  @nn.compact
  def __call__(self, x):
    """Returns w x."""
    return x * self.param('weight', nn.initializers.zeros, ())


@dataclasses.dataclass(frozen=True)
class Objective:
  """Squared error; infinite from step `breaks` on."""

  max_length: int = 2
  breaks: int = 1000000

  terms = {'loss': 1.0}

  def loss(self, apply, params, batch, rng):
    """Returns sums."""
    out = apply(params, lambda model: model(batch['x']), rng)
    error = (out - batch['y']) ** 2 * batch['valid']
    error = jnp.where(batch['made'] >= self.breaks, jnp.inf, error)
    return {'loss': (error.sum(), batch['valid'].sum())}


def get_config(scale='small'):
  """Returns the recipe."""
  c = config.base()
  c.num_steps = {'smoke': 6, 'small': 60, 'large': 6000}[scale]
  c.batch_size = 8
  c.max_length = 2
  c.tokenizer.kind = 'none'
  c.model = {'name': 'tests.toy', 'vocab_size': 1}
  c.tasks.line = {
    'data': {'name': 'tests.toy', 'slope': 2.0, 'num_examples': 20},
    'objective': {'name': 'tests.toy', 'breaks': 1000000},
    'weight': 1.0,
  }
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_steps = 0
  c.log_every_steps = 3
  c.checkpoint.every_steps = 5
  c.evaluators.line = {'name': 'losses', 'every_steps': 4}
  return c


def sweep(scale):
  """Yields two rates."""
  return experiment.product({'optimizer.learning_rate': (0.1, 0.3)})


def criteria():
  """Returns one claim."""

  def faster(results):
    slow, fast = (
      results.where(learning_rate=r).final('eval/line/loss') for r in (0.1, 0.3)
    )
    return verdicts.Finding(
      [verdicts.Every('slow - fast', slow - fast, low=1e-3)],
      beside={'slow': slow, 'fast': fast},
    )

  return [
    experiment.Claim(
      'a larger rate | is faster', 'folklore', 'faster', 'in every seed', faster
    )
  ]


def report(results):
  """Returns one plot."""
  series = [
    results.where(learning_rate=r).series(f'rate {r}', 'eval/line/loss')
    for r in (0.1, 0.3)
  ]
  lines = [experiment.Line('optimum', 0.0)]
  return [
    experiment.Plot('loss', 'a line', 'step', 'squared error', series, lines)
  ]
