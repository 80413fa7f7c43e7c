import numpy as np
import pytest

from ctxlm.experiments import ginc
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('ginc', tmp_path / 'dir')
  for point in summary['points'].values():
    last = point['last']
    for k in (3, 4):
      for n in (0, 2):
        for line in ('accuracy', 'shared', 'document'):
          assert 0 <= last[f'eval/prompts/{line}_{k}_{n}'] <= 1
      assert last[f'eval/prompts/above_error_{k}'] >= 0
    assert np.isfinite(last['eval/prompts/loss'])


NAN = float('nan')
TOLD = {(3, 16): 0.4, (5, 16): 0.6, (10, 16): 0.8}
TOLD |= {(3, 0): 0.35, (5, 0): 0.5, (10, 0): 0.65}


def rows(own, told=None, low=None, loss=1.5, above=None):
  made = TOLD | {(k, n): 0.5 for k in (3, 5, 10) for n in (1, 4)}
  made |= told or {}
  metrics = {'loss': loss}
  for (k, n), value in made.items():
    metrics |= {f'accuracy_{k}_{n}': value, f'shared_{k}_{n}': 0.9}
    metrics[f'document_{k}_{n}'] = 0.6
    metrics[f'gain_{k}_low'] = (low or {}).get(k, 0.04)
    metrics[f'above_{k}'] = (above or {}).get(k, 0.1)
    metrics[f'above_error_{k}'] = 0.01
  return [
    {'step': s} | {f'eval/prompts/{k}': v for k, v in metrics.items()}
    for s in (500, 1000)
  ]


FLOOR = np.log(50) - 1.5
CASES = [
  ({}, 'RR'),
  # Broken: no number, nothing learned.
  ({'told': dict.fromkeys(TOLD, NAN)}, 'UU'),
  ({'loss': 3.9}, 'UU'),
  # Beside each bound.
  ({'loss': FLOOR - 0.001}, 'RR'),
  ({'loss': FLOOR + 0.001}, 'UU'),
  ({'told': {(5, 0): 0.5499}}, 'RR'),
  ({'told': {(5, 0): 0.5501}}, 'DR'),
  ({'told': {(10, 0): 0.7499}}, 'RR'),
  ({'told': {(10, 0): 0.7501}}, 'DR'),
  ({'told': {(10, 0): 0.7899}}, 'DR'),
  ({'told': {(10, 0): 0.7901}}, 'NR'),
  *(({'low': {k: 0.0005}}, 'RR') for k in (5, 10)),
  *(({'low': {k: -0.0005}}, 'DR') for k in (5, 10)),
  ({'told': {(3, 16): 0.5899}}, 'RR'),
  ({'told': {(3, 16): 0.5901}}, 'RD'),
  ({'told': {(5, 16): 0.8001, (10, 16): 0.79, (10, 0): 0.6}}, 'RR'),
  ({'told': {(5, 16): 0.79, (10, 16): 0.7999, (10, 0): 0.6}}, 'RD'),
  ({'told': {(3, 16): 0.7001, (5, 16): 0.75}}, 'RD'),
  ({'told': {(3, 16): 0.6999, (5, 16): 0.75}}, 'RR'),
  ({'told': {(3, 16): 0.7799, (5, 16): 0.79}}, 'RD'),
  ({'told': {(3, 16): 0.7801, (5, 16): 0.79}}, 'RN'),
  *(({'above': {k: -0.0299}}, 'RR') for k in (3, 5, 10)),
  *(({'above': {k: -0.0305}}, 'LL') for k in (3, 5, 10)),
]


def test_criteria():
  common.check(ginc, rows, CASES)


def test_plots():
  common.draw(ginc, rows)
