import numpy as np
import pytest

from ctxlm.experiments import task_diversity
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('task_diversity', tmp_path / 'dir')
  for point in summary['points'].values():
    last = point['last']
    assert 0 < last['eval/prompts/new_to_ridge'] < 10
    # dMMSE is the best there is on the tasks seen.
    assert (
      last['eval/prompts/seen_dmmse_error']
      < last['eval/prompts/new_dmmse_error']
    )


def rows(own, new=None, seen=0.2):
  m = own['tasks']
  share = np.log2(m / 8) / 9  # 0 at the fewest, 1 at the most
  return [
    {
      'step': 4000,
      'eval/prompts/new_error': 1.0 - 0.55 * share if new is None else new,
      'eval/prompts/new_ridge_error': 0.42,
      'eval/prompts/new_dmmse_error': 1.2 - 0.7 * share,
      'eval/prompts/new_to_ridge': 0.5 - 0.45 * share,
      'eval/prompts/new_to_dmmse': 0.2 - 0.1 * share if new is None else 0.6,
      'eval/prompts/seen_error': seen,
      'eval/prompts/seen_dmmse_error': 0.18,
      'eval/prompts/seen_ridge_error': 0.4,
    }
  ]


def test_crossing_lies_between_the_sizes_where_the_nearer_one_changes():
  ridge = {8: np.array([4.0, 1.0, 2.0]), 64: np.array([1.0, 1.0, 2.0])}
  dmmse = {8: np.array([1.0, 2.0, 1.0]), 64: np.array([2.0, 3.0, 1.0])}
  # log2 of their ratio goes from -2 to 1 over 3 doublings; ridge is the nearer
  # one from the first; it never is.
  crossings = task_diversity._crossing(ridge, dmmse)
  np.testing.assert_allclose(crossings, [32, 8, np.inf])


def test_criteria(tmp_path):
  assert common.verdicts(task_diversity, rows) == ['reproduced'] * 3

  def none(own):
    return rows(own, new=0.9, seen=0.35)

  assert common.verdicts(task_diversity, none) == [
    'not reproduced',
    'not reproduced',
    'direction only',
  ]
  assert common.verdicts(task_diversity, rows, done=False) == ['unfinished'] * 3
  common.draw(task_diversity, rows, tmp_path)
