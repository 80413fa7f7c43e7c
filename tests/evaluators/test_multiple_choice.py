"""Accuracy of choices, of any number each, by hand."""

import numpy as np
import pytest

from ctxlm import plugins

SCORES = [[0.1, 0.9], [2.0, 1.0, 0.0], [0.0, 3.0, 1.0, 2.0], [1.0, 0.0]]
TARGETS = [1, 0, 3, 0]


class Bench:
  """What an evaluator asks of one, with answers that are known."""

  def labelled(self, evaluator, objective, target=None):
    assert (evaluator.task, evaluator.split) == ('', 'validation')
    assert objective.__module__ == 'ctxlm.objectives.multiple_choice'
    return 'task', list(range(len(SCORES))), TARGETS

  def answers(self, task, records):
    assert task == 'task'
    return [list(map(np.float32, SCORES[i])) for i in records]


def test_accuracy_beside_a_guess():
  evaluator = plugins.build('evaluators', {'name': 'multiple_choice'})
  found = evaluator.run(Bench())
  assert found['accuracy'] == 3 / 4 and found['examples'] == 4
  assert found['accuracy_low'] <= 3 / 4 <= found['accuracy_high']
  assert found['chance'] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 2) / 4)
