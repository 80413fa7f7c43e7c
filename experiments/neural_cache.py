r"""What a cache of its own past brings to an LSTM, by its length.

Claim (Grave et al. 2017, 1612.04426, table 2 and figure 3): states that a
trained LSTM has just been in say what comes next, without training, and the
more of them the better; WikiText-2 99.3, and 68.9 with the last 2,000.

  ctxlm sweep experiments/neural_cache.py --workdir runs/neural_cache
  ctxlm report experiments/neural_cache.py --workdir runs/neural_cache

The text, and the LSTM, are those of experiments/lm_ladder.py; WikiText-2 is a
folder with its wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens, named
by `--config.tasks.text.data.path`. Theta and the cache's weight are chosen on
the validation words, for each length of the cache, and judged on the test's.
"""

import dataclasses

import numpy as np

from ctxlm.context import neural_cache
from ctxlm.experiments import lm_ladder, mixtures
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Series
from ctxlm.lab.verdicts import Effect, Every, Finding, Mean

SEEDS = verdicts.Seeds(tuned=(0,))
WINDOWS = (100, 500, 2000)  # states
WORDS = 2088628  # of training, in WikiText-2


@dataclasses.dataclass(frozen=True)
class Evaluator(mixtures.Evaluator):
  """A model alone, and with caches of several lengths.

  Attributes:
    windows: states of each.
    window, rows: see mixtures.Evaluator.
  """

  windows: tuple = WINDOWS

  def run(self, bench):
    """Returns perplexities and gains, see mixtures.Evaluator."""
    found, streams = self.streams(bench)
    judged = {s: streams[s] for s in ('validation', 'test')}
    own, states = self.read(bench, judged)
    found['alone'] = np.exp(-np.mean(own['test']))
    often = np.bincount(streams['test'][1:])
    share = often[often > 0] / often.sum()
    found['frequencies'] = np.exp(-(share * np.log(share)).sum())
    targets = {s: x[1:] for s, x in judged.items()}
    grid = neural_cache.Context.grid['theta']
    for window in self.windows:
      name = f'cache_{window}'
      found |= mixtures.best_cache(name, own, states, targets, window, grid)
    return found


def get_config(scale='small'):
  """Returns the recipe of the ladder's LSTM, judged otherwise."""
  c = lm_ladder.get_config(scale)
  block = c.evaluators.ladder.to_dict()
  del c.evaluators.ladder
  point = dict(lm_ladder.sweep(scale)[1])
  window = point.pop('evaluators.ladder.window')
  for key, value in point.items():
    c.update_from_flattened_dict({key: value})
  c.evaluators.cache = {
    'name': 'ctxlm.experiments.neural_cache',
    'window': window,
    'rows': block['rows'],
  }
  return c


def sweep(scale):
  """Returns the LSTM."""
  del scale
  return [{}]


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'a cache of 2,000 states takes a quarter of the perplexity of WikiText-2',
      'Grave et al. 2017, table 2',
      '99.3 and 68.9: a ratio of 0.69; of others 0.73 to 0.78',
      'perplexity with a cache of 2,000 / alone: 0.73 to 0.78, every seed; of '
      'another text nothing is judged',
      _ratio,
    ),
    Claim(
      'a cache makes an LSTM better',
      'Grave et al. 2017, tables 1 and 2',
      '82.3 and 72.1, 99.3 and 68.9',
      'of each length, every seed: the 95 % interval of the gain (paired '
      'bootstrap over blocks of 1,000 words) is above 0, and the weight inside '
      f'(0, 0.5), 0.005 to 0.495{LEARNED}',
      _better,
    ),
    Claim(
      'the longer the cache the better',
      'Grave et al. 2017, figure 3',
      'perplexity falls with the size of the cache, to 2,000',
      'gains of 500 over 100 and of 2,000 over 500 states, nats a word: the 95 '
      f'% intervals over seeds are above 0{LEARNED}',
      _longer,
    ),
  ]


LEARNED = (
  '; the model is 0.1 nats better than the frequencies of the words themselves'
)


def _of(results, metric):
  return results.final(f'eval/cache/{metric}')


def _learned(results):
  nats = np.log(_of(results, 'frequencies') / _of(results, 'alone'))
  return [Every('frequencies - the model, nats', nats, low=0.1)]


def _ratio(results):
  ratio = _of(results, 'cache_2000') / _of(results, 'alone')
  other = '' if (_of(results, 'train_words') == WORDS).all() else 'another text'
  return Finding(
    wanted=[Every('with / without', ratio, low=0.73, high=0.78)],
    learned=_learned(results),
    effect=Effect('1 - with / without', 1 - ratio, low=0.05),
    other=other,
  )


def _better(results):
  wanted = []
  for window in WINDOWS:
    low, share = (
      _of(results, f'cache_{window}_{what}') for what in ('low', 'share')
    )
    wanted.append(Every(f'{window}, least gain', low, low=0))
    wanted.append(Every(f'{window}, weight', share, low=0.005, high=0.495))
  gains = [_of(results, f'cache_{window}_gain') for window in WINDOWS]
  return Finding(
    wanted=wanted,
    learned=_learned(results),
    effect=Effect('least gain, nats', np.min(gains, 0), low=0.01),
    beside={
      w: _of(results, w) for w in ('alone', *map('cache_{}'.format, WINDOWS))
    },
  )


def _longer(results):
  gains = [_of(results, f'cache_{window}_gain') for window in WINDOWS]
  pairs = list(zip(WINDOWS, WINDOWS[1:], np.diff(gains, axis=0)))
  return Finding(
    wanted=[Mean(f'{b} over {a}, nats', more, low=0) for a, b, more in pairs],
    learned=_learned(results),
    effect=Effect('the longest over the shortest', gains[-1] - gains[0], 0.005),
  )


def report(results):
  """Returns perplexity by the length of the cache."""
  ys = np.array([results.last(f'eval/cache/cache_{w}') for w in WINDOWS]).T
  series = [Series('with a cache', WINDOWS, ys)] if ys.size else []
  alone = Line('alone', results.level('eval/cache/alone'))
  return [
    Plot(
      'cache',
      'an LSTM and its past',
      'states of the cache',
      'perplexity of the test words',
      series,
      [alone],
      log='x',
    )
  ]
