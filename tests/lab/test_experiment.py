"""Lists of overrides."""

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
