import numpy as np
import pytest

from ctxlm.experiments import context_fusion as fusion
from ctxlm.lab.points import points
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('context_fusion', tmp_path / 'dir')
  alone, gate, real = (
    {k.removeprefix('eval/'): v for k, v in point['last'].items()}
    for point in summary['points'].values()
  )
  for own in (alone, gate, real):
    assert 1 < own['fusion/loss'] < 9
  # Without passages a text costs the same beside any number of them.
  assert alone['cost/operations_2'] == alone['cost/operations_1']
  assert gate['cost/operations_2'] > 1.1 * gate['cost/operations_1']
  assert 0 < gate['fusion/let_in'] < 1 and 'fusion/let_in' not in alone
  assert 'fusion/best' not in real


def test_own_files_are_read_by_the_points_of_text():
  given = {
    'tasks.text.data.name': 'files',
    'tasks.text.data.pattern': 'README.md',
  }
  listed = points(fusion, 'small', range(1), given)
  drawn = 'ctxlm.experiments.facts'
  for _, own, config in listed:
    name = drawn if 'tasks.text.data' in own else 'files'
    assert config.tasks.text.data.name == name
  assert len(listed) == 2 * len(fusion.READINGS)


GUESS = np.log(16)
BEST = 0.75 * GUESS
GAP = GUESS - BEST
COSTS = {name: 1.0 for name in fusion.FUSED} | {fusion.IN_FRONT: 1.7}
NATS = {name: 4.9 for name in fusion.FUSED} | {fusion.ALONE: 5.0}


def rows(
  own, share=None, control=0.0, above=None, gate=(0.4, 0.1), power=None,
  nats=None,
):  # fmt: skip
  """`share` of the gap that a reading is above the best."""
  block, noise = own['model'], 1e-5 * (own['seed'] % 5)
  causal = own['objective']['name'] == 'causal'
  name = next(
    name
    for name, reading in fusion.READINGS.items()
    if reading == {k: v for k, v in block.items() if k in ('name', 'reading')}
    and (name == fusion.ALONE) == causal
  )
  if 'vocab_size' not in block:
    loss = (NATS | (nats or {}))[name] + noise
    return [{'step': 9, 'eval/fusion/loss': loss}]
  part = (dict.fromkeys(fusion.FUSED, 0.1) | (share or {})).get(name)
  loss = GUESS + control if causal else BEST + part * GAP
  floor = GUESS if causal else BEST
  found = {
    'loss': loss + noise,
    'best': BEST,
    'alone': GUESS,
    'above': (above or {}).get(name, loss - floor),
    'above_error': 0.01,
  }
  if name in ('gate', 'output'):
    found |= {'let_in': gate[0] + noise, 'let_in_irrelevant': gate[1]}
  found = {f'eval/fusion/{k}': float(v) for k, v in found.items()}
  for what in ('operations', 'seconds'):
    for n in fusion.SCALES['small'].counts:
      grown = float(n ** (COSTS | (power or {})).get(name, 0))
      found[f'eval/cost/{what}_{n}'] = 100 * grown
  return [{'step': s} | found for s in (8, 9)]


NAN = float('nan')
FUSED = fusion.FUSED
OTHERS = [name for name in FUSED if name != fusion.IN_FRONT]
CASES = [
  ({}, 'RRRR'),
  # Broken: nothing but NaN; a leak; nothing learned.
  ({'share': dict.fromkeys(FUSED, NAN)}, 'UURR'),
  ({'above': {'output': -0.1}}, 'LRRR'),
  ({'share': dict.fromkeys(FUSED, 1.0)}, 'NURR'),
  *(({'share': {n: 0.199}}, 'RRRR') for n in FUSED),
  *(({'share': {n: 0.201}}, 'DRRR') for n in FUSED),
  ({'share': {'output': 1 - 0.1005 / GAP}}, 'DRRR'),
  ({'share': {'output': 1 - 0.0995 / GAP}}, 'NRRR'),
  ({'control': 0.0499}, 'RRRR'),
  ({'control': 0.0501}, 'URRR'),
  *(({'above': {n: -0.0299}}, 'RRRR') for n in fusion.READINGS),
  *(({'above': {n: -0.0301}}, 'LRRR') for n in fusion.READINGS),
  ({'share': {'gate': 0.499}}, 'DRRR'),
  ({'share': {'gate': 0.501}}, 'DURR'),
  ({'gate': (0.4, 0.199)}, 'RRRR'),
  ({'gate': (0.4, 0.201)}, 'RDRR'),
  ({'gate': (0.4, 0.3495)}, 'RDRR'),
  ({'gate': (0.4, 0.3505)}, 'RNRR'),
  ({'power': {fusion.IN_FRONT: 1.501}}, 'RRRR'),
  ({'power': {fusion.IN_FRONT: 1.499}}, 'RRDR'),
  ({'power': {fusion.IN_FRONT: 1.101}}, 'RRDR'),
  ({'power': {fusion.IN_FRONT: 1.099}}, 'RRNR'),
  *(({'power': {n: 0.901}}, 'RRRR') for n in OTHERS),
  *(({'power': {n: 0.899}}, 'RRDR') for n in OTHERS),
  *(({'power': {n: 1.099}}, 'RRRR') for n in OTHERS),
  *(({'power': {n: 1.101}}, 'RRDR') for n in OTHERS),
  *(({'nats': {n: 4.9991}}, 'RRRR') for n in FUSED),
  *(({'nats': {n: 5.0009}}, 'RRRD') for n in FUSED),
  ({'nats': dict.fromkeys(FUSED, 5.0009) | {'gate': 4.9949}}, 'RRRD'),
  ({'nats': dict.fromkeys(FUSED, 5.0009) | {'gate': 4.9951}}, 'RRRN'),
  ({'nats': {fusion.ALONE: 5.9989}}, 'RRRR'),
  ({'nats': {fusion.ALONE: 6.0011}}, 'RRRU'),
]


def test_criteria():
  common.check(fusion, rows, CASES)


def test_plots():
  common.draw(fusion, rows)
