"""Metrics of classes and scores, by their formulas."""

import functools
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.evaluators import classification
from ctxlm.evaluators.bench import Bench
from ctxlm.objectives import causal

RNG = np.random.default_rng(0)


def test_two_classes_by_hand():
  targets = np.array([1, 1, 1, 0, 0, 0, 0, 1])
  found = np.array([1, 1, 0, 0, 0, 1, 0, 1])
  tp, fp, fn, tn = 3, 1, 1, 3
  metrics = classification.of_class(targets, np.eye(2)[found])
  assert metrics['accuracy'] == pytest.approx(6 / 8)
  assert metrics['f1'] == pytest.approx(2 * tp / (2 * tp + fp + fn))
  root = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
  assert metrics['matthews'] == pytest.approx((tp * tn - fp * fn) / root)


def f1(targets, found):
  hits = (targets & found).sum()
  return 2 * hits / (targets.sum() + found.sum())


def test_more_classes_by_hand():
  targets, logits = RNG.integers(0, 3, 30), RNG.normal(size=(30, 3))
  found = logits.argmax(1)
  metrics = classification.of_class(targets, logits)
  each = [f1(targets == c, found == c) for c in range(3)]
  assert metrics['f1'] == pytest.approx(np.mean(each))
  assert metrics['accuracy'] == pytest.approx((targets == found).mean())


def test_several_classes_by_hand():
  targets = RNG.integers(0, 2, (30, 3)).astype(np.float32)
  logits = RNG.normal(size=(30, 3))
  metrics = classification.of_classes(targets, logits)
  t, found = targets > 0, logits > 0
  assert metrics['accuracy'] == pytest.approx((t == found).all(1).mean())
  assert metrics['f1_micro'] == pytest.approx(f1(t, found))
  each = [f1(t[:, c], found[:, c]) for c in range(3)]
  assert metrics['f1_macro'] == pytest.approx(np.mean(each))


def test_scores_by_hand():
  targets, found = RNG.normal(size=20), RNG.normal(size=20)
  metrics = classification.of_score(targets, found[:, None])
  correlation = np.corrcoef(targets, found)[0, 1]
  assert metrics['pearson'] == pytest.approx(correlation)
  ranks = np.argsort(np.argsort(targets)), np.argsort(np.argsort(found))
  assert metrics['spearman'] == pytest.approx(np.corrcoef(*ranks)[0, 1])
  rmse = np.sqrt(((targets - found) ** 2).mean())
  assert metrics['rmse'] == pytest.approx(rmse)


def fake(**methods):
  made = types.SimpleNamespace(**methods)
  made.labelled = functools.partial(Bench.labelled, made)
  return made


def bench(records, rehearses=False, **options):
  """Returns a bench whose model thinks that every text is of class 0."""
  block = {'name': 'classification', **options}
  objective = plugins.build('objectives', block)
  view = type('View', (), {
    '__len__': lambda self: len(records),
    'read': lambda self, i, rng: records[i],
  })()  # fmt: skip
  asked = []

  def answers(task, records):
    asked.extend(records)
    return [[np.eye(objective.size)[0]] for _ in records]

  return fake(
    task=lambda name: types.SimpleNamespace(name='t', objective=objective),
    view=lambda task, split: view,
    enough=lambda count: rehearses,
    answers=answers,
    asked=asked,
  )


def run(bench):
  block = {'name': 'classification', 'split': 'test'}
  return plugins.build('evaluators', block).run(bench)


def test_every_example_counts():
  records = [{'text': 'a', 'label': n} for n in 'aabab']
  found = run(bench(records, labels=('a', 'b')))
  assert found['examples'] == 5 and found['accuracy'] == pytest.approx(3 / 5)
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
