"""Which examples are judged, and what is found before any is."""

import functools
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.evaluators.bench import Bench
from ctxlm.objectives import causal


def fake(**methods):
  made = types.SimpleNamespace(**methods)
  made.labelled = functools.partial(Bench.labelled, made)
  made.signed = {}
  made.sign = made.signed.__setitem__
  return made


def bench(records, rehearses=False, **options):
  """Returns a bench whose model thinks that every text is of class 0."""
  block = {'name': 'classification', **options}
  objective = plugins.build('objectives', block)
  asked = []

  def answers(task, records):
    asked.extend(records)
    return [[np.eye(objective.size)[0]] for _ in records]

  return fake(
    task=lambda name: types.SimpleNamespace(name='t', objective=objective),
    view=lambda task, split: types.SimpleNamespace(records=records),
    enough=lambda count: rehearses,
    answers=answers,
    asked=asked,
  )


def run(bench):
  block = {'name': 'classification', 'split': 'test'}
  return plugins.build('evaluators', block).run(bench)


def test_every_example_counts():
  records = [{'text': 'a', 'label': n} for n in 'aabab']
  two = bench(records, labels=('a', 'b'))
  found = run(two)
  assert two.signed == {'f1': "of 'b', the second of ('a', 'b')"}
  assert found['examples'] == 5 and found['accuracy'] == pytest.approx(3 / 5)
  assert found['accuracy_low'] < 3 / 5 < found['accuracy_high'] == 1
  rehearsal = bench(records, rehearses=True, labels=('a', 'b'))
  run(rehearsal)
  assert rehearsal.asked == records[:2]


def test_labels_unseen_in_training_are_found_before_it():
  records = [{'text': 'a', 'label': n} for n in 'aabac']
  with pytest.raises(UserError, match="split 'test': .* record 4 .*'c'"):
    run(bench(records, rehearses=True, labels=('a', 'b')))


def test_a_task_of_another_objective():
  other = types.SimpleNamespace(name='t', objective=causal.Objective())
  with pytest.raises(UserError, match="task 't' is of another objective"):
    run(fake(task=lambda name: other))
