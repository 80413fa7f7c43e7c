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


def rows(own, last=0.02, low=0.05, faster=1000):
  d = own['dim']
  listed = []
  for step in range(250, 4001, 250):
    row = {'step': step, 'eval/prompts/below_low': low}
    row['eval/prompts/below_high'] = low + 0.1
    slow = 0 if own['curriculum_steps'] else faster
    for i in range(2 * d + 1):
      line = max(1 - i / d, 0.0)
      row[f'eval/prompts/least_squares_{i}'] = line
      row[f'eval/prompts/lasso_{i}'] = line / 2
      row[f'eval/prompts/averaging_{i}'] = 0.6
      row[f'eval/prompts/error_{i}'] = line + (
        last if step > 1500 + slow else 0.5
      )
    listed.append(row)
  return listed


def test_criteria(tmp_path):
  assert common.verdicts(icl_regression, rows) == ['reproduced'] * 3

  def weak(own):
    return rows(own, last=0.06, low=-0.01, faster=0)

  assert common.verdicts(icl_regression, weak) == [
    'direction only',
    'direction only',
    'not reproduced',
  ]

  def none(own):
    return rows(own, last=0.5, low=-0.5, faster=-500)

  assert common.verdicts(icl_regression, none) == ['not reproduced'] * 3
  assert common.verdicts(icl_regression, rows, done=False) == ['unfinished'] * 3
  common.draw(icl_regression, rows, tmp_path)
