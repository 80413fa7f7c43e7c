import numpy as np
import pytest

from ctxlm.experiments import icl_regression
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('icl_regression', tmp_path / 'dir')
  for point in summary['points'].values():
    last = point['last']
    assert last['eval/prompts/least_squares_4'] < 1e-9  # d = 4
    assert last['eval/prompts/error_4'] > 0
    assert last['eval/prompts/below_low'] <= last['eval/prompts/below_high']
    more = [
      value - last[name.replace('error', 'bayes')]
      for name, value in last.items()
      if name.startswith('eval/prompts/error_')
    ]
    assert last['eval/prompts/above'] == pytest.approx(np.mean(more), rel=1e-4)
    assert last['eval/prompts/above_error'] > 0


NAN = float('nan')


def rows(
  own,
  last=0.02,
  averaging=0.6,
  gap=0.01,
  zero=0.0,
  at_d=0.02,
  above=0.01,
  low=0.05,
  gain=0.1,
  with_at=1000,
  without_at=1500,
  level=0.1,
  flat=0.1,
  warmup=None,
):
  """Least squares has 1 - i / d after i examples, and so has Bayes."""
  d, listed = own['dim'], []
  if warmup not in (None, own.get('warmup_steps')):  # another one's are usual
    with_at, without_at, level, flat, above = 1000, 1500, 0.1, 0.1, 0.01
  at = with_at if own['curriculum_steps'] else without_at
  for step in sorted({*range(100, 2001, 100), at}):
    row = {
      'step': step,
      'eval/prompts/below_low': low,
      'eval/prompts/below_high': low + 0.1,
      'eval/prompts/above': above,
      'eval/prompts/above_error': 0.001,
    }
    for i in range(2 * d + 1):
      line = max(1 - i / d, 0.0)
      error = line + gap if i < d else at_d
      if i == 0:
        error = 1 + zero
      if i == 2 * d:
        error = last
        if d == 10:  # the curriculum's
          reached = level if own['curriculum_steps'] else flat
          error = reached if step >= at else 0.5
      row |= {
        f'eval/prompts/bayes_{i}': line,
        f'eval/prompts/lasso_{i}': line / 2,
        f'eval/prompts/averaging_{i}': averaging,
        f'eval/prompts/nearest_neighbours_{i}': averaging,
        f'eval/prompts/error_{i}': error,
        f'eval/prompts/least_squares_{i}': error + gain
        if own['sparsity']
        else line,
      }
    listed.append(row)
  return listed


CASES = [
  ({}, 'RRR'),
  # Broken: sparse error 0, diverged, untrained, no number without curriculum.
  ({'above': -0.3}, 'LLL'),
  ({'zero': 4.0}, 'UUR'),
  ({'at_d': 1.0, 'last': 1.0}, 'UUR'),
  ({'flat': NAN}, 'RRU'),
  ({'last': NAN}, 'URR'),
  ({'last': 0.0299}, 'RRR'),
  ({'last': 0.0301}, 'DRR'),
  ({'averaging': 0.201}, 'RRR'),
  ({'averaging': 0.199}, 'DRR'),
  ({'averaging': 0.0401, 'last': 0.02}, 'DRR'),
  ({'averaging': 0.0399, 'last': 0.02}, 'NRR'),
  ({'gap': 0.0599}, 'RRR'),
  ({'gap': 0.0631}, 'DRR'),
  ({'zero': 0.0999}, 'RRR'),
  ({'zero': 0.1001}, 'UUR'),
  ({'at_d': 0.899}, 'RRR'),
  ({'at_d': 0.901}, 'UUR'),
  ({'above': -0.0029}, 'RRR'),
  ({'above': -0.0031}, 'LLL'),
  ({'low': 0.001}, 'RRR'),
  ({'low': -0.001, 'gain': 0.0201}, 'RDR'),
  ({'low': -0.001, 'gain': 0.0199}, 'RNR'),
  *(
    (change | {'warmup': warmup}, letters)
    for warmup in (100, 1000)
    for change, letters in (
      ({'with_at': 1799, 'without_at': 2000}, 'RRR'),
      ({'with_at': 1801, 'without_at': 2000}, 'RRD'),
      ({'level': 0.199}, 'RRR'),
      ({'above': -0.0029}, 'RRR'),
      ({'above': -0.0031}, 'RRL'),
      ({'level': 0.201}, 'RRD'),  # never there
      ({'flat': 1.099}, 'RRR'),  # never there without it
      ({'flat': 1.101}, 'RRU'),
    )
  ),
  ({'with_at': 1899, 'without_at': 2000}, 'RRD'),
  ({'with_at': 1901, 'without_at': 2000}, 'RRN'),
]


def test_criteria():
  common.check(icl_regression, rows, CASES)


def test_plots():
  common.draw(icl_regression, rows)
