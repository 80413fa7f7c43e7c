import numpy as np
import pytest

from ctxlm.experiments import icll
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('icll', tmp_path / 'dir')
  assert len(summary['points']) == 3
  for point in summary['points'].values():
    last = point['last']
    for line in ('', '1gram_', '2gram_', '3gram_'):
      assert np.isfinite(last[f'eval/strings/{line}loss'])
      assert 0 <= last[f'eval/strings/{line}distance'] <= 1
    assert 0 < last['eval/strings/to_2gram'] < 1
    assert 1 <= last['eval/strings/states'] <= 4
    assert last['eval/strings/above_error'] > 0


NAN = float('nan')
FAR = {'transformer': 0.15, 'recurrent': 0.4, 'convolution': 0.3}
LOSS = {'transformer': 0.8, 'recurrent': 1.2, 'convolution': 1.1}


def rows(
  own,
  far=None,
  loss=None,
  above=None,
  to=(0.4, 0.1, 0.15),
  early=0.6,
  late=0.97,
):
  """1-grams have 1.3 nats, 2-grams 0.85."""
  name = own['name']
  made = {
    'distance': (FAR | (far or {}))[name],
    'loss': (LOSS | (loss or {}))[name],
    'accuracy': late,
    'early_accuracy': early,
    'above': (above or {}).get(name, 0.1),
    'above_error': 0.01,
    'states': 4.5,
  }
  for n, value, nats in zip((1, 2, 3), to, (1.3, 0.85, 0.8)):
    made |= {f'to_{n}gram': value, f'{n}gram_loss': nats}
    made |= {f'{n}gram_accuracy': 0.9, f'{n}gram_distance': 0.2}
  return [
    {'step': s} | {f'eval/strings/{k}': v for k, v in made.items()}
    for s in (200, 400)
  ]


CASES = [
  ({}, 'RRR'),
  # Broken: no number, nothing learned.
  ({'far': {'transformer': NAN}}, 'URR'),
  ({'loss': {'recurrent': 2.0}}, 'URR'),
  ({'late': NAN}, 'RRU'),
  # Beside each bound.
  *(({'far': {m: 0.2002}}, 'RRR') for m in ('recurrent', 'convolution')),
  *(({'far': {m: 0.1998}}, 'DRR') for m in ('recurrent', 'convolution')),
  ({'far': {'convolution': 0.1601}}, 'DRR'),
  ({'far': {'convolution': 0.1599}}, 'NRR'),
  *(({'loss': {m: 1.3499}}, 'RRR') for m in ('recurrent', 'convolution')),
  *(({'loss': {m: 1.3501}}, 'URR') for m in ('recurrent', 'convolution')),
  ({'to': (0.4, 0.3, 0.1999)}, 'RRR'),
  ({'to': (0.4, 0.2001, 0.3)}, 'RDR'),
  ({'to': (0.4, 0.3799, 0.39)}, 'RDR'),
  ({'to': (0.4, 0.3801, 0.39)}, 'RNR'),
  ({'loss': {'transformer': 0.8999}}, 'RRR'),
  ({'loss': {'transformer': 0.9001}}, 'RDR'),
  ({'late': 0.901}, 'RRR'),
  ({'late': 0.899}, 'RRD'),
  ({'early': 0.8699}, 'RRR'),
  ({'early': 0.8701}, 'RRD'),
  ({'early': 0.9499}, 'RRD'),
  ({'early': 0.9501}, 'RRN'),
  ({'above': dict.fromkeys(FAR, -0.0299)}, 'RRR'),
  ({'above': {'transformer': -0.0305}}, 'LLL'),
  *(({'above': {m: -0.0305}}, 'LRR') for m in ('recurrent', 'convolution')),
]


def test_criteria():
  common.check(icll, rows, CASES)


def test_plots():
  common.draw(icll, rows)
