"""Lists of overrides, and intervals over seeds."""

import numpy as np
import pytest

from ctxlm.lab import experiment


def test_helpers():
  rows = experiment.product({'a': (1, 2), 'b': (3,)}, [{'c': 4}, {'c': 5}])
  assert rows == [
    {'a': 1, 'b': 3, 'c': 4},
    {'a': 1, 'b': 3, 'c': 5},
    {'a': 2, 'b': 3, 'c': 4},
    {'a': 2, 'b': 3, 'c': 5},
  ]
  assert experiment.zipped({'a': (1, 2), 'b': (3, 4)}) == [
    {'a': 1, 'b': 3},
    {'a': 2, 'b': 4},
  ]
  assert experiment.chain([{'a': 1}], [{'b': 2}]) == [{'a': 1}, {'b': 2}]
  with pytest.raises(ValueError):
    experiment.zipped({'a': (1, 2), 'b': (3,)})


def test_interval_is_that_of_student():
  # 1, 2, 3: s / sqrt(3) = 0.57735, t(0.975, 2) = 4.30265.
  assert experiment.interval([1, 2, 3]) == pytest.approx((2, 2.48414), abs=1e-4)
  mean, half = experiment.interval([5.0])
  assert mean == 5 and np.isnan(half)
