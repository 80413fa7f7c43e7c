"""Few tasks in pretraining: Bayesian over those seen. Many: ridge regression.

Claim (Raventos et al. 2023, 2306.15063, abstract): a
Transformer pretrained on noisy linear regression with M tasks acts like the
posterior mean over these M (dMMSE), and fails on new tasks, as long as M is
small; above a threshold it acts like ridge regression, the optimum for new
tasks, and beats dMMSE on them.

  ctxlm sweep experiments/task_diversity.py --workdir runs/diversity --seeds=2
  ctxlm report experiments/task_diversity.py --workdir runs/diversity

Small: d = 4, 8 pairs, noise 0.5, where the paper has d = 8 and 16 pairs. Muon
and kernels of 1 / sqrt(width) in place of Adam and 0.02. The threshold moves
with the number of steps, so it is stated with them; 4096 tasks of d = 4 leave
dMMSE near ridge, so the crossing is what counts. Pools are nested; prompts of
evaluation are the same for every M and seed.
"""

import dataclasses
import functools

import numpy as np

from configs import common
from ctxlm.lab.experiment import Claim, Finding, Line, Plot, Series, product
from experiments import regression, theory

DATA = 'tasks.prompts.data'


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Distances of predictions to ridge and to dMMSE, on two kinds of tasks.

  Attributes:
    every_steps: the loop's cadence.
  """

  every_steps: int = 0

  def run(self, context):
    """Returns means over places of squared distances / d.

    SPLIT_error, SPLIT_ridge_error, SPLIT_dmmse_error: to y; SPLIT_to_ridge,
    SPLIT_to_dmmse: of the model's predictions to theirs. SPLIT is 'seen',
    the pool's tasks, or 'new'.
    """
    source = context.task().source
    found = {}
    for split, (xs, ys, lines) in fixed(source).items():
      out, _ = context.call(regression.forward, xs, ys)
      out = np.asarray(out, np.float64)

      def mean(a, b):
        return regression.error(a, b, source.dim).mean()

      found[f'{split}_error'] = mean(out, ys)
      for name, line in lines.items():
        found[f'{split}_{name}_error'] = mean(line, ys)
        found[f'{split}_to_{name}'] = mean(out, line)
    return found


@functools.cache
def fixed(source):
  """Returns {split: (xs, ys, theory's predictions)} of the evaluation."""
  kinds = {'seen': source, 'new': dataclasses.replace(source, tasks=0)}
  found = {}
  for split, kind in kinds.items():
    xs, ys = regression.prompts(kind, 2024)
    found[split] = (
      xs,
      ys,
      {
        'ridge': theory.ridge(xs, ys, source.noise**2),
        'dmmse': theory.discrete_posterior_mean(
          xs, ys, source.pool(), source.noise
        ),
      },
    )
  return found


def get_config(scale='small'):
  """Returns the recipe of the smallest pool."""
  c = common.base()
  c.num_steps = {'smoke': 4, 'small': 3000, 'large': 50000}[scale]
  c.batch_size = {'smoke': 4, 'small': 128, 'large': 256}[scale]
  width = {'smoke': 8, 'small': 64, 'large': 128}[scale]
  dim, points = {'smoke': (2, 4), 'small': (4, 8), 'large': (8, 16)}[scale]
  c.max_length = 2 * points
  c.tokenizer.kind = 'none'
  c.model = {
    'name': 'experiments.regression',
    'vocab_size': 1,
    'hidden_size': width,
    'num_layers': {'smoke': 1, 'small': 4, 'large': 8}[scale],
    'num_heads': 1 if scale == 'smoke' else 2,
    'init_stddev': width**-0.5,
  }
  data = {
    'name': 'experiments.regression',
    'dim': dim,
    'points': points,
    'noise': 0.5,
    'tasks': 8,
    'num_examples': 1024 if scale != 'smoke' else 8,
  }
  c.tasks.prompts = common.task(data, {'name': 'experiments.regression'})
  c.optimizer.name = 'muon'
  c.optimizer.learning_rate = 3e-3 if scale != 'large' else 1e-3
  c.optimizer.schedule = 'linear'
  c.optimizer.weight_decay = 0.0
  c.optimizer.warmup_steps = c.num_steps // 4
  every = {'smoke': 2, 'small': 500, 'large': 2000}[scale]
  c.log_every_steps = every
  c.checkpoint.every_steps = every
  c.checkpoint.keep = 1
  c.evaluators.prompts = {
    'name': 'experiments.task_diversity',
    'every_steps': every,
  }
  return c


def sweep(scale):
  """Yields one point a size of the pool."""
  sizes = {
    'smoke': (2, 8),
    'small': (8, 64, 512, 4096),
    'large': tuple(2**i for i in range(3, 18, 2)),
  }[scale]
  return product({f'{DATA}.tasks': sizes})


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'few tasks: predictions on new tasks are those of dMMSE; many: of ridge',
      'Raventos et al. 2023, abstract',
      'a threshold in M (d = 8, 500,000 steps); its place not checked',
      'on new tasks: distance to dMMSE < half of that to ridge at the '
      'smallest M; distance to ridge <= that to dMMSE at the largest; every '
      'seed',
      _nearer,
    ),
    Claim(
      'the error on new tasks falls with the number of tasks, to that of ridge',
      'Raventos et al. 2023, abstract',
      "ridge's error above the threshold",
      'error / d on new tasks falls from each M to the next, and ends within '
      "0.06 of ridge's, every seed",
      _falls,
    ),
    Claim(
      'with few tasks it is Bayesian over them: better than ridge on seen ones',
      'Raventos et al. 2023, abstract',
      "dMMSE's error below the threshold",
      "on seen tasks at the smallest M the error is nearer to dMMSE's than to "
      "ridge's, every seed",
      _seen,
    ),
  ]


def _final(results, name):
  """Returns {M: values over seeds}."""
  sizes = sorted({p.overrides[f'{DATA}.tasks'] for p in results.points})
  return {
    m: results.where(tasks=m).final(f'eval/prompts/{name}') for m in sizes
  }


def _nearer(results):
  ridge, dmmse = (
    _final(results, 'new_to_ridge'),
    _final(results, 'new_to_dmmse'),
  )
  few, *_, many = ridge
  return Finding(
    {'M where it crosses over': _crossing(ridge, dmmse)}
    | {
      f'{name}, M = {m}': values[m]
      for m in ridge
      for name, values in (('to ridge', ridge), ('to dMMSE', dmmse))
    },
    (dmmse[few] < 0.5 * ridge[few]).all()
    and (ridge[many] <= dmmse[many]).all(),
    (dmmse[few] < ridge[few]).all()
    and (dmmse[few] / ridge[few] < dmmse[many] / ridge[many]).all(),
  )


def _crossing(ridge, dmmse):
  # The first M, on a logarithmic scale, at which ridge is the nearer one.
  sizes = np.log2(list(ridge))
  nearer = np.array([np.log(dmmse[m] / ridge[m]) for m in ridge])  # [M, seeds]
  found = []
  for own in nearer.T:
    at = np.argmax(own >= 0)
    if own[at] < 0:
      found.append(np.inf)
    elif at == 0:
      found.append(2 ** sizes[0])
    else:
      place = sizes[at - 1 : at + 1]
      found.append(2 ** np.interp(0.0, own[at - 1 : at + 1], place))
  return np.array(found)


def _falls(results):
  own, ridge = _final(results, 'new_error'), _final(results, 'new_ridge_error')
  table = np.array(list(own.values()))  # [M, seeds]
  last = list(ridge.values())[-1]
  return Finding(
    {f'M = {m}': v for m, v in own.items()} | {'ridge': last},
    (np.diff(table, axis=0) < 0).all() and (table[-1] - last <= 0.06).all(),
    (table[-1] < table[0]).all(),
  )


def _seen(results):
  names = ('seen_error', 'seen_dmmse_error', 'seen_ridge_error')
  own, dmmse, ridge = (next(iter(_final(results, n).values())) for n in names)
  nearer = abs(own - dmmse) < abs(own - ridge)
  return Finding(
    {'error / d': own, 'dMMSE': dmmse, 'ridge': ridge},
    nearer.all(),
    (own < ridge).all(),
  )


def report(results):
  """Returns errors and distances on new tasks over the number of tasks."""
  done = {}
  for p in results.points:
    if p.done:
      done.setdefault(p.overrides[f'{DATA}.tasks'], []).append(p)
  sizes = sorted(done)
  seeds = min(map(len, done.values()), default=0)

  def series(label, name):
    ys = [
      [done[m][i].curve(f'eval/prompts/{name}')[1][-1] for m in sizes]
      for i in range(seeds)
    ]
    return Series(label, sizes, np.array(ys))

  lines = []
  for label in ('ridge', 'dmmse') if seeds else ():
    level = series(label, f'new_{label}_error').ys[0]
    name = 'dMMSE' if label == 'dmmse' else label
    lines.append(Line(name, (sizes, level)))
  axis = 'tasks in pretraining, M'
  return [
    Plot(
      'errors',
      'new tasks',
      axis,
      'squared error / d',
      [series('Transformer', 'new_error')],
      lines,
      log='x',
    ),
    Plot(
      'distances',
      'new tasks: nearer to which predictor?',
      axis,
      'squared distance of predictions / d',
      [
        series('to ridge', 'new_to_ridge'),
        series('to dMMSE', 'new_to_dmmse'),
      ],
      log='xy',
    ),
  ]
