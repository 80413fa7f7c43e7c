"""Few tasks in pretraining: Bayesian over those seen. Many: ridge regression.

Claim (Raventos et al. 2023, 2306.15063, abstract): a
Transformer pretrained on noisy linear regression with M tasks acts like the
posterior mean over these M (dMMSE), and fails on new tasks, as long as M is
small; above a threshold it acts like ridge regression, the optimum for new
tasks, and beats dMMSE on them.

  ctxlm sweep experiments/task_diversity.py --workdir runs/diversity
  ctxlm report experiments/task_diversity.py --workdir runs/diversity

Small: d = 4, 8 pairs, noise 0.5, where the paper has d = 8 and 16 pairs. Muon
and kernels of 1 / sqrt(width) in place of Adam and 0.02. The threshold moves
with the number of steps, so it is stated with them; 4096 tasks of d = 4 leave
dMMSE near ridge, so the crossing is what counts. Pools are nested; prompts of
evaluation are the same for every M and seed. An error of nothing learned is
1 + noise^2 / d.

Tuned on seeds 0 and 1, of which were distances on new tasks, 8 tasks: to dMMSE
0.17 and 0.20, to ridge 0.42 and 0.44; 4,096: to ridge 0.009, to dMMSE 0.018.
"""

import dataclasses
import functools
from types import SimpleNamespace as Scale

import numpy as np

from ctxlm.configs import common
from ctxlm.experiments import regression, theory
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Series, product
from ctxlm.lab.verdicts import Effect, Every, Finding

SEEDS = verdicts.Seeds(tuned=range(2))
BAYES = {'seen': 'dmmse', 'new': 'ridge'}  # what is best on which tasks
DATA = 'tasks.prompts.data'
SCALES = {
  'smoke': Scale(
    tasks=(2, 8),
    dim=2,
    points=4,
    num_steps=4,
    every_steps=2,
    batch_size=4,
    num_examples=8,
    hidden_size=8,
    num_layers=1,
    num_heads=1,
    learning_rate=3e-3,
  ),
  'small': Scale(
    tasks=(8, 64, 512, 4096),
    dim=4,
    points=8,
    num_steps=3000,
    every_steps=500,
    batch_size=128,
    num_examples=1024,
    hidden_size=64,
    num_layers=4,
    num_heads=2,
    learning_rate=3e-3,
  ),
  'large': Scale(
    tasks=tuple(2**i for i in range(3, 18, 2)),
    dim=8,
    points=16,
    num_steps=50000,
    every_steps=2000,
    batch_size=256,
    num_examples=1024,
    hidden_size=128,
    num_layers=8,
    num_heads=2,
    learning_rate=1e-3,
  ),
}


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Distances of predictions to ridge and to dMMSE, on two kinds of tasks."""

  def run(self, bench):
    """Returns means over places of squared distances / d.

    SPLIT_error, SPLIT_ridge_error, SPLIT_dmmse_error: to y; SPLIT_to_ridge,
    SPLIT_to_dmmse: of the model's predictions to theirs. SPLIT is 'seen',
    the pool's tasks, or 'new'. SPLIT_above is the error minus Bayes', see
    verdicts.excess; SPLIT_farther_low and _high bound the distance to dMMSE
    minus that to ridge, see verdicts.bootstrap.
    """
    source = bench.task().source
    metrics = {}
    for split, (xs, ys, lines) in fixed(source).items():
      out, _ = bench.call(regression.forward, xs, ys)
      out = np.asarray(out, np.float64)

      def mean(a, b):
        return regression.error(a, b, source.dim).mean()

      metrics[f'{split}_error'] = mean(out, ys)
      for name, line in lines.items():
        metrics[f'{split}_{name}_error'] = mean(line, ys)
        metrics[f'{split}_to_{name}'] = mean(out, line)
      more = (out - ys) ** 2 - (lines[BAYES[split]] - ys) ** 2
      above = verdicts.excess(more.mean(1) / source.dim)
      far = (out - lines['dmmse']) ** 2 - (out - lines['ridge']) ** 2
      low, high = verdicts.bootstrap(far.mean(1) / source.dim)
      metrics |= {f'{split}_{name}': value for name, value in above.items()}
      metrics |= {f'{split}_farther_low': low, f'{split}_farther_high': high}
    return metrics


@functools.cache
def fixed(source):
  """Returns {split: (xs, ys, theory's predictions)} of the evaluation."""
  kinds = {'seen': source, 'new': dataclasses.replace(source, tasks=0)}
  splits = {}
  for split, kind in kinds.items():
    xs, ys = regression.prompts(kind, 2024)
    splits[split] = (
      xs,
      ys,
      {
        'ridge': theory.ridge(xs, ys, source.noise**2),
        'dmmse': theory.discrete_posterior_mean(
          xs, ys, source.pool(), source.noise
        ),
      },
    )
  return splits


def get_config(scale='small'):
  """Returns the recipe of the smallest pool."""
  s, c = SCALES[scale], common.base()
  c.num_steps = s.num_steps
  c.batch_size = s.batch_size
  c.max_length = 2 * s.points
  c.tokenizer.kind = 'none'
  c.model = {
    'name': 'ctxlm.experiments.regression',
    'vocab_size': 1,
    'hidden_size': s.hidden_size,
    'num_layers': s.num_layers,
    'num_heads': s.num_heads,
    'init_stddev': s.hidden_size**-0.5,
  }
  data = {
    'name': 'ctxlm.experiments.regression',
    'dim': s.dim,
    'points': s.points,
    'noise': 0.5,
    'tasks': 8,
    'num_examples': s.num_examples,
  }
  c.tasks.prompts = common.task(data, {'name': 'ctxlm.experiments.regression'})
  c.optimizer.name = 'muon'
  c.optimizer.learning_rate = s.learning_rate
  c.optimizer.schedule = 'linear'
  c.optimizer.weight_decay = 0.0
  c.optimizer.warmup_steps = c.num_steps // 4
  c.log_every_steps = s.every_steps
  c.checkpoint.every_steps = s.every_steps
  c.checkpoint.keep = 1
  c.evaluators.prompts = {
    'name': 'ctxlm.experiments.task_diversity',
    'every_steps': s.every_steps,
  }
  return c


def sweep(scale):
  """Yields one point a size of the pool."""
  return product({f'{DATA}.tasks': SCALES[scale].tasks})


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'few tasks: predictions on new tasks are those of dMMSE; many: of ridge',
      'Raventos et al. 2023, abstract',
      'a threshold in M (d = 8, 500,000 steps); its place not checked',
      'on new tasks, every seed: distance to dMMSE at most half of that to '
      'ridge at the smallest M; at the largest nearer to ridge, the 95 % '
      'bootstrap interval over 1,024 prompts above 0',
      _nearer,
    ),
    Claim(
      'the error on new tasks falls with the number of tasks, to that of ridge',
      'Raventos et al. 2023, abstract',
      "ridge's error above the threshold",
      'error / d on new tasks falls by 0.005 at least from each M to the next, '
      "as far as it isn't within 0.02 of ridge's, by 0.1 at least in all, and "
      "ends within 0.06 of ridge's, every seed",
      _falls,
    ),
    Claim(
      'with few tasks it is Bayesian over them: better than ridge on seen ones',
      'Raventos et al. 2023, abstract',
      "dMMSE's error below the threshold",
      'on seen tasks at the smallest M the error is at most half as far above '
      "dMMSE's as ridge's is, every seed",
      _seen,
    ),
  ]


def _final(results, name):
  """Returns {M: values over seeds}."""
  sizes = sorted({p.overrides[f'{DATA}.tasks'] for p in results.points})
  return {
    m: results.where(tasks=m).final(f'eval/prompts/{name}') for m in sizes
  }


def _checks(results):
  # On seen tasks every arm learns what ridge knows; nothing is below Bayes.
  own, ridge = (
    np.array(list(_final(results, name).values()))
    for name in ('seen_error', 'seen_ridge_error')
  )
  above, error = (
    {split: _final(results, f'{split}_{name}') for split in BAYES}
    for name in ('above', 'above_error')
  )
  learned = Every(
    "seen tasks, error / d above ridge's", (own - ridge).max(0), high=0.06
  )
  sound = [
    verdicts.sound(
      f'{split} tasks, M = {m}: error / d above Bayes', v, error[split][m]
    )
    for split in BAYES
    for m, v in above[split].items()
  ]
  return {'learned': [learned], 'sound': sound}


def _nearer(results):
  ridge, dmmse = (
    _final(results, 'new_to_ridge'),
    _final(results, 'new_to_dmmse'),
  )
  few, *_, many = ridge
  low = _final(results, 'new_farther_low')[many]
  share = {m: dmmse[m] / ridge[m] for m in ridge}
  return Finding(
    wanted=[
      Every(f'to dMMSE / to ridge, M = {few}', share[few], high=0.5),
      Every(f'to dMMSE - to ridge, M = {many}, 2.5 %', low, low=0.0),
    ],
    **_checks(results),
    effect=Effect(
      'log of to dMMSE / to ridge, largest M - smallest',
      np.log(share[many] / share[few]),
      low=0.7,
    ),
    beside={'M where it crosses over': _crossing(ridge, dmmse)}
    | {
      f'{name}, M = {m}': values[m]
      for m in ridge
      for name, values in (('to ridge', ridge), ('to dMMSE', dmmse))
    },
  )


def _crossing(ridge, dmmse):
  # The first M, on a logarithmic scale, at which ridge is the nearer one.
  sizes = np.log2(list(ridge))
  nearer = np.array([np.log(dmmse[m] / ridge[m]) for m in ridge])  # [M, seeds]
  crossings = []
  for own in nearer.T:
    at = np.argmax(own >= 0)
    if own[at] < 0:
      crossings.append(np.inf)
    elif at == 0:
      crossings.append(2 ** sizes[0])
    else:
      place = sizes[at - 1 : at + 1]
      crossings.append(2 ** np.interp(0.0, own[at - 1 : at + 1], place))
  return np.array(crossings)


def _falls(results):
  own, ridge = _final(results, 'new_error'), _final(results, 'new_ridge_error')
  above = np.array([own[m] - ridge[m] for m in own])  # [M, seeds]
  falls = -np.diff(above, axis=0)
  # Once it is there, it can't fall any more.
  least = np.where(above[1:] > 0.02, falls, 1).min(0)
  return Finding(
    wanted=[
      Every('least fall before it is there', least, low=0.005),
      Every('fall in all', above[0] - above[-1], low=0.1),
      Every("error / d above ridge's, largest M", above[-1], high=0.06),
    ],
    **_checks(results),
    effect=Effect('fall in all', above[0] - above[-1], low=0.02),
    beside={f'M = {m}': v for m, v in own.items()}
    | {'ridge': list(ridge.values())[-1]},
  )


def _seen(results):
  names = ('seen_error', 'seen_dmmse_error', 'seen_ridge_error')
  own, dmmse, ridge = (next(iter(_final(results, n).values())) for n in names)
  return Finding(
    wanted=[
      Every(
        "above dMMSE / ridge's above it",
        (own - dmmse) / (ridge - dmmse),
        high=0.5,
      )
    ],
    **_checks(results),
    effect=Effect('ridge - model, error / d', ridge - own, low=0.02),
    beside={'error / d': own, 'dMMSE': dmmse, 'ridge': ridge},
  )


def report(results):
  """Returns errors and distances on new tasks over the number of tasks."""
  done = {p.overrides[f'{DATA}.tasks'] for p in results.points if p.done}
  sizes = sorted(done)

  def series(label, name):
    ys = (results.where(tasks=m).last(f'eval/prompts/{name}') for m in sizes)
    return Series(label, sizes, np.array(list(zip(*ys))))

  lines = []
  for label in ('ridge', 'dmmse') if sizes else ():
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
