"""What heads attend to, by hand."""

import numpy as np
import pytest

from ctxlm.experiments import heads


def test_scores_by_hand():
  tokens = np.array([[5, 7, 5, 9]])
  weights = np.zeros((1, 1, 4, 4))
  weights[0, 0, [1, 2, 3], [0, 1, 2]] = [0.5, 0.25, 1.0]

  def sown(*layers):
    return {
      'stack': {
        f'layers_{i}': {'attention': {'attention': (w,)}}
        for i, w in enumerate(layers)
      }
    }

  found = heads.scores(tokens, sown(weights))
  assert found['previous'] == np.mean([0.5, 0.25, 1.0])
  # Only place 2 (a 5) follows an earlier copy, whose next token is place 1.
  assert found['prefix'] == 0.25
  # The first layer looks back, the last one at what followed.
  found = heads.scores(tokens, sown(weights, 0 * weights, 2 * weights))
  assert found['previous'] == np.mean([0.5, 0.25, 1.0])
  assert found['prefix'] == 0.5
  assert found['prefix_even'] == pytest.approx(1 / 3)  # of 3 places
