import numpy as np
import pytest

from ctxlm.experiments import neural_cache
from tests.experiments import common
from tests.experiments.test_lm_ladder import text as text  # a fixture


@pytest.mark.slow
def test_smoke(text, tmp_path):
  summary = common.smoke(
    'neural_cache',
    tmp_path / 'dir',
    f'--config.tasks.text.data.path={text}',
  )
  (point,) = summary['points'].values()
  last = {k.split('/')[-1]: v for k, v in point['last'].items()}
  assert last['train_words'] == 272 and 1 < last['alone'] < 30
  # The text is shorter than both: all of it is seen.
  assert last['cache_500'] == pytest.approx(last['cache_2000'])


def rows(own, alone=100.0, words=neural_cache.WORDS, **caches):
  noise = 1e-5 * (own['seed'] % 5)
  found = {'alone': alone, 'train_words': words, 'frequencies': 300.0}
  for window, gain in ((100, 0.1), (500, 0.2), (2000, 0.28)):
    said = {'gain': gain, 'low': 0.05, 'share': 0.2}
    said |= caches.get(f'cache_{window}', {})
    said['gain'] += noise
    found |= {f'cache_{window}_{k}': v for k, v in said.items()}
    found[f'cache_{window}'] = alone * np.exp(-said['gain'])
  return [{'step': 9} | {f'eval/cache/{k}': float(v) for k, v in found.items()}]


def gains(short, middle, long):
  given = zip(neural_cache.WINDOWS, (short, middle, long))
  return {f'cache_{window}': {'gain': gain} for window, gain in given}


NAN = float('nan')
EACH = [f'cache_{window}' for window in neural_cache.WINDOWS]
FLOOR = 300 * np.exp(-0.1)
CASES = [
  ({}, 'RRR'),
  # Broken: NaN, and a model that knows no more than single words.
  ({'alone': NAN}, 'UUU'),
  ({'alone': 0.999 * FLOOR}, 'RRR'),
  ({'alone': 1.001 * FLOOR}, 'UUU'),
  ({'words': 2088627}, 'ORR'),
  (gains(0.1, 0.2, -np.log(0.779)), 'RRR'),
  (gains(0.1, 0.2, -np.log(0.781)), 'DRR'),
  (gains(0.1, 0.2, -np.log(0.731)), 'RRR'),
  (gains(0.1, 0.2, -np.log(0.729)), 'DRR'),
  (gains(0.02, 0.03, -np.log(0.9495)), 'DRR'),
  (gains(0.02, 0.03, -np.log(0.9505)), 'NRR'),
  *(({name: {'low': 0.0009}}, 'RRR') for name in EACH),
  *(({name: {'low': -0.0009}}, 'RDR') for name in EACH),
  *(({name: {'share': 0.00501}}, 'RRR') for name in EACH),
  *(({name: {'share': 0.00499}}, 'RDR') for name in EACH),
  *(({name: {'share': 0.4949}}, 'RRR') for name in EACH),
  *(({name: {'share': 0.4951}}, 'RDR') for name in EACH),
  ({EACH[0]: {'low': -1, 'gain': 0.0101}}, 'RDR'),
  ({EACH[0]: {'low': -1, 'gain': 0.0099}}, 'RNR'),
  (gains(0.2009, 0.2, 0.28), 'RRD'),
  (gains(0.1, 0.2809, 0.28), 'RRD'),
  (gains(0.2749, 0.2709, 0.28), 'RRD'),
  (gains(0.2751, 0.2709, 0.28), 'RRN'),
]


def test_criteria():
  common.check(neural_cache, rows, CASES)


def test_plots():
  common.draw(neural_cache, rows)
