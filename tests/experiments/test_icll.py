import numpy as np
import pytest

from ctxlm.experiments import icll
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('icll', tmp_path / 'dir')
  assert len(summary['points']) == 2
  for point in summary['points'].values():
    last = point['last']
    for line in ('', '1gram_', '2gram_', '3gram_'):
      assert np.isfinite(last[f'eval/strings/{line}loss'])
      assert 0 <= last[f'eval/strings/{line}distance'] <= 1
    assert 0 < last['eval/strings/to_2gram'] < 1
    assert 1 <= last['eval/strings/states'] <= 4
    assert last['eval/strings/above_error'] > 0


NAN = float('nan')
FAR = {
  'transformer': 0.15,
  'recurrent': 0.4,
  'convolution': 0.3,
  'lstm and heads': 0.1,
  'convolution and heads': 0.1,
}
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
  name = f'{own["read"]} and heads' if 'read' in own else own['name']
  made = {
    'distance': (FAR | (far or {}))[name],
    'loss': (LOSS | (loss or {})).get(name, 0.8),
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


OTHERS = 'recurrent', 'convolution'
HELPED = 'lstm and heads', 'convolution and heads'
CASES = [
  ({}, 'RRRR'),
  # Broken: no number, nothing learned.
  ({'far': {'transformer': NAN}}, 'URRR'),
  ({'far': {'lstm and heads': NAN}}, 'RRRU'),
  ({'loss': {'recurrent': 2.0}}, 'URRU'),
  ({'late': NAN}, 'RRUR'),
  # Beside each bound.
  *(({'far': {m: 0.2002}}, 'RRRR') for m in OTHERS),
  *(({'far': {m: 0.1998}}, 'DRRR') for m in OTHERS),
  ({'far': {'convolution': 0.1601}}, 'DRRR'),
  ({'far': {'convolution': 0.1599}}, 'NRRR'),
  *(({'loss': {m: 1.3499}}, 'RRRR') for m in OTHERS),
  *(({'loss': {m: 1.3501}}, 'URRU') for m in OTHERS),
  ({'to': (0.4, 0.3, 0.1999)}, 'RRRR'),
  ({'to': (0.4, 0.2001, 0.3)}, 'RDRR'),
  ({'to': (0.4, 0.3799, 0.39)}, 'RDRR'),
  ({'to': (0.4, 0.3801, 0.39)}, 'RNRR'),
  ({'loss': {'transformer': 0.8999}}, 'RRRR'),
  ({'loss': {'transformer': 0.9001}}, 'RDRR'),
  ({'late': 0.901}, 'RRRR'),
  ({'late': 0.899}, 'RRDR'),
  ({'early': 0.8699}, 'RRRR'),
  ({'early': 0.8701}, 'RRDR'),
  ({'early': 0.9499}, 'RRDR'),
  ({'early': 0.9501}, 'RRNR'),
  *(
    ({'far': {m: far + d, h: far}}, letters)
    for m, h, far in zip(OTHERS, HELPED, (0.35, 0.25))
    for d, letters in (
      (0.0501, 'RRRR'),
      (0.0499, 'RRRD'),
      (0.0101, 'RRRD'),
      (0.0099, 'RRRN'),
    )
  ),
  ({'above': dict.fromkeys(FAR, -0.0299)}, 'RRRR'),
  ({'above': {'transformer': -0.0305}}, 'LLLR'),
  *(({'above': {m: -0.0305}}, 'LRRR') for m in OTHERS),
  *(({'above': {m: -0.0305}}, 'RRRL') for m in HELPED),
]


def test_criteria():
  common.check(icll, rows, CASES)


def test_plots():
  common.draw(icll, rows)
