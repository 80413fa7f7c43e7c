r"""What do demonstrations teach a model that is not trained on them?

Claims: labels drawn at random do nearly as well as right ones, and what matters
is that they are of the task's set (Min et al. 2022, arXiv:2202.12837, sections
4 and 5; GPT-2 large, MetaICL, GPT-J, fairseq's 6.7 B and 13 B, and GPT-3, with
16 demonstrations); the order alone spreads accuracy from chance to the best (Lu
et al. 2022, arXiv:2104.08786; GPT-2 of 0.1 B to 1.5 B and GPT-3 of 2.7 B to 175
B, with 4); calibration by inputs that say nothing raises the mean and lowers
the spread (Zhao et al. 2021, arXiv:2102.09690; GPT-3 of 2.7 B to 175 B and
GPT-2 of 1.5 B; over sets of examples, where here it is over orders, too); the
most alike examples are better than random ones (Liu et al. 2022,
arXiv:2101.06804; GPT-3, the most alike first, where here it is the last).

Min et al. have macro F1 of classification, where GPT-2 large and GPT-J that are
asked for the label, as here, are often no better than guesses (footnote 5).

  ctxlm sweep experiments/demonstrations.py --workdir runs/demonstrations \
    --config.tokenizer.path=gpt2
  ctxlm report experiments/demonstrations.py --workdir runs/demonstrations

The folder that `--config.tokenizer.path` names holds the model and its
tokenizer: at small GPT-2 of 124 M, or another of its shape. Sets are SST-2,
TREC and SNLI, in `--config.evaluators.shown.folder`, judged on the first
queries of their dev or test splits; a seed is a draw of demonstrations. Nothing
is trained. The most alike are by `--config.evaluators.shown.encoder`.
"""

import dataclasses
from types import SimpleNamespace as Scale
from typing import Literal

import numpy as np

from ctxlm import plugins
from ctxlm.configs import common
from ctxlm.configs.tasks import snli, sst2, trec
from ctxlm.lab.experiment import Claim, Plot, Series
from ctxlm.lab.verdicts import Effect, Finding, Mean, Seeds
from ctxlm.ranges import Count, Seed

SEEDS = Seeds()  # nothing was tuned
SET = 'evaluators.shown.set'
SETS = {'sst2': sst2, 'trec': trec, 'snli': snli}
# Words that are of no set's labels, as many as the largest has.
WORDS = ('harbour', 'velvet', 'Tuesday', 'gravel', 'orchard', 'copper')
KINDS = ('gold', 'random', 'other')
SCALES = {
  'smoke': Scale(shots=(1, 2), orders=2, limit=3, length=48),
  'small': Scale(shots=(1, 4, 16), orders=8, limit=200, length=1024),
  'large': Scale(shots=(1, 4, 8, 16, 32), orders=24, limit=1000, length=1024),
}
CHANCE = (1 / 2 + 1 / 6 + 1 / 3) / 3  # mean of the sets
ORDERED = 4  # demonstrations that are permuted, as Lu et al. 2022 have it


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Judges a set with all kinds of demonstrations.

  Attributes:
    set: which.
    folder: of the sets' folders.
    shots: numbers of demonstrations; the last is that of the claims.
    orders: permutations of ORDERED demonstrations, or the most of `shots`.
    limit: queries.
    encoder: folder, see evaluators.few_shot.
    seed: of the draw.
  """

  set: Literal[*SETS] = 'sst2'
  folder: str = '../shared/data'
  shots: tuple = (16,)
  orders: Count = 8
  limit: Count = 200
  encoder: str = 'all-MiniLM-L6-v2'
  seed: Seed = 0

  def run(self, bench):
    """Returns {arm: accuracy}, see `arms`."""
    task = SETS[self.set].get_task(f'{self.folder}/{self.set}')
    task |= {'limit': self.limit, 'seed': self.seed}
    found = {}
    for name, options in self.arms(task['verbalisers']).items():
      judge = plugins.build('evaluators', task | options)
      found[name] = judge.run(bench)['accuracy']
    return found

  def arms(self, verbalisers):
    """Returns {name: options of evaluators.few_shot}.

    Of the most demonstrations names are gold, random, other and nearest; of
    others with their number.
    """
    most = max(self.shots)
    other = dict(zip(verbalisers, WORDS))
    found = {'none': {'shots': 0}}
    for shots in self.shots:
      end = '' if shots == most else f'_{shots}'
      found |= {
        f'gold{end}': {'shots': shots},
        f'random{end}': {'shots': shots, 'labels': 'random'},
        f'other{end}': {'shots': shots, 'labels': 'random', 'shown': other},
      }
    found['nearest'] = {'shots': most, 'encoder': self.encoder}
    permuted = {'shots': min(ORDERED, most)}
    for order in range(1, self.orders + 1):
      one = permuted | {'order': order}
      found[f'order_{order}'] = one
      found[f'calibrated_{order}'] = one | {'calibrated': True}
    return found


def get_config(scale='small'):
  """Returns the recipe, which judges and does not train."""
  s, c = SCALES[scale], common.base()
  c.num_steps = 0
  c.batch_size = 16
  c.max_length = s.length
  smoke = scale == 'smoke'
  c.model = common.gpt2_shape(
    *((24, 2, 4) if smoke else (768, 12, 12)), max_length=s.length
  )
  c.tokenizer.kind = 'file'
  c.tokenizer.path = 'gpt2'
  c.init_from = c.tokenizer.get_oneway_ref('path')
  # A causal task, of whose text nothing is learned.
  data = sst2.get_task('../shared/data/sst2')['data']
  c.tasks.text = common.task(data, {'name': 'causal'})
  c.optimizer.name = 'sgd'  # whose state is none
  c.checkpoint.keep = 1
  c.evaluators.shown = {
    'name': 'ctxlm.experiments.demonstrations',
    'set': 'sst2',
    'folder': '../shared/data',
    'shots': s.shots,
    'orders': s.orders,
    'limit': s.limit,
    'encoder': 'all-MiniLM-L6-v2',
    'seed': c.get_oneway_ref('seed'),
  }
  return c


def sweep(scale):
  """Yields each set; at smoke one."""
  return [{SET: name} for name in list(SETS)[: 1 if scale == 'smoke' else None]]


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'random labels do nearly as well as right ones',
      'Min et al. 2022, section 4.1 (774 M to 175 B)',
      '0 to 5 points less',
      'gold - random, mean of the sets: the 95 % interval over draws is within '
      f'-0.05 to 0.05{LEARNED}',
      _random_labels,
    ),
    _better(
      'demonstrations with random labels are better than none',
      'Min et al. 2022, section 4.2 (MetaICL of 774 M, GPT-J of 6 B)',
      'significantly better, even if all labels are wrong',
      ('random', 'none'),
      0.02,
    ),
    _better(
      "that labels are of the task's set matters",
      'Min et al. 2022, section 5.2 (MetaICL of 774 M, GPT-J of 6 B)',
      '5 to 16 points, of models that predict the label',
      ('random', 'other'),
      0.05,
    ),
    Claim(
      'the order alone spreads accuracy',
      'Lu et al. 2022, section 1 (0.1 B to 175 B)',
      'from chance to the best on SST-2',
      'the best order - the worst on SST-2, 4 demonstrations: the 95 % '
      'interval over draws is above 0.1; direction: mean above 0.05',
      _spread,
    ),
    Claim(
      'calibration raises accuracy',
      'Zhao et al. 2021, tables 1 and 4 (2.7 B, 175 B; GPT-2 of 1.5 B)',
      'by up to 30 points',
      'calibrated - not, mean of orders and sets: the 95 % interval over draws '
      'is above 0.03; direction: mean above 0.01',
      _calibrated_mean,
    ),
    Claim(
      'calibration lowers the spread of orders',
      'Zhao et al. 2021, section 5.1 (2.7 B to 175 B; GPT-2 of 1.5 B)',
      'in most cases, over sets of examples',
      'standard deviation over orders, not calibrated - calibrated, mean of '
      'the sets: the 95 % interval over draws is above 0.01; direction: mean '
      'above 0.005',
      _calibrated_spread,
    ),
    _better(
      'the most alike examples are better than random ones',
      'Liu et al. 2022, section 4 (GPT-3)',
      'better on sentiment, tables and answers',
      ('nearest', 'gold'),
      0.02,
    ),
  ]


LEARNED = '; demonstrations teach: gold is more than 0.05 above chance'


def _better(claim, source, paper, arms, least):
  one, other = arms

  def check(results):
    gap = _mean(results, one) - _mean(results, other)
    what = f'{one} - {other}'
    return Finding(
      wanted=[Mean(what, gap, low=least)],
      learned=[_learned(results)],
      effect=Effect(what, gap, low=0.01),
      beside={arm: _mean(results, arm) for arm in arms},
    )

  return Claim(
    claim,
    source,
    paper,
    f'{one} - {other}, mean of the sets: the 95 % interval over draws is above '
    f'{least}; direction: mean above 0.01{LEARNED}',
    check,
  )


def _of(results, name, arm):
  # Accuracies of an arm on a set, [draws].
  return results.where(set=name).final(f'eval/shown/{arm}')


def _mean(results, arm):
  return np.mean([_of(results, name, arm) for name in SETS], axis=0)


def _learned(results):
  return Mean('gold - chance', _mean(results, 'gold') - CHANCE, low=0.05)


def _random_labels(results):
  gold, random = (_mean(results, name) for name in ('gold', 'random'))
  return Finding(
    wanted=[Mean('gold - random', gold - random, low=-0.05, high=0.05)],
    learned=[_learned(results)],
    beside={'gold': gold, 'random': random},
  )


def _orders(results, name, kind):
  # [orders, draws]
  own = results.where(set=name).finished()
  start = f'eval/shown/{kind}_'
  keys = {key for row in own.points[0].rows for key in row}
  arms = sorted(key for key in keys if key.startswith(start))
  return np.array([own.final(arm) for arm in arms])


def _spread(results):
  own = _orders(results, 'sst2', 'order')
  gap = own.max(0) - own.min(0)
  return Finding(
    wanted=[Mean('best - worst', gap, low=0.1)],
    effect=Effect('best - worst', gap, low=0.05),
    beside={'worst': own.min(0), 'best': own.max(0)},
  )


def _both(results, measure):
  # Calibrated and not: a measure of orders, mean of the sets, [draws] each.
  return [
    np.mean([measure(_orders(results, name, kind)) for name in SETS], axis=0)
    for kind in ('calibrated', 'order')
  ]


def _calibrated_mean(results):
  calibrated, plain = _both(results, lambda x: x.mean(0))
  gap, what = calibrated - plain, 'calibrated - not'
  return Finding(
    wanted=[Mean(what, gap, low=0.03)],
    effect=Effect(what, gap, low=0.01),
    beside={'calibrated': calibrated, 'not': plain},
  )


def _calibrated_spread(results):
  calibrated, plain = _both(results, lambda x: x.std(0, ddof=1))
  gap, what = plain - calibrated, 'deviation, not - calibrated'
  return Finding(
    wanted=[Mean(what, gap, low=0.01)],
    effect=Effect(what, gap, low=0.005),
    beside={'calibrated': calibrated, 'not': plain},
  )


def report(results):
  """Returns accuracy over demonstrations, and over their orders."""
  small = SCALES['small']
  *fewer, most = small.shots

  def series(label, x, arms, names=tuple(SETS), kind='line'):
    curves = [
      results.where(set=name).curves(f'eval/shown/{arm}')[1]
      for name in names
      for arm in arms
    ]
    if not all(map(np.size, curves)):
      return []
    draws = min(map(len, curves))
    ys = np.array([values[:draws, -1] for values in curves])
    ys = ys.reshape(len(names), len(arms), draws).mean(0).T
    return [Series(label, list(x), ys, kind)]

  shown = []
  for kind in KINDS:
    arms = ['none', *(f'{kind}_{n}' for n in fewer), kind]
    shown += series(kind, (0, *small.shots), arms)
  shown += series('nearest', [most], ['nearest'], kind='points')
  orders, points = range(1, small.orders + 1), []
  for kind in ('order', 'calibrated'):
    arms = [f'{kind}_{n}' for n in orders]
    points += series(kind, orders, arms, ('sst2',), 'points')
  return [
    Plot('shots', 'mean of the sets', 'demonstrations', 'accuracy', shown),
    Plot('orders', 'SST-2', 'permutation', 'accuracy', points),
  ]
