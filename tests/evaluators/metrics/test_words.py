"""Exact match and distinct-n by hand, entities against seqeval."""

import numpy as np
import pytest
from seqeval import metrics as theirs

from ctxlm.errors import UserError
from ctxlm.evaluators.metrics import distinct, entities, exact_match

RNG = np.random.default_rng(0)


def test_exact_match():
  score, _ = exact_match.Metric().measure(
    ['a b', ' c ', 'D'], [['a  b'], ['x', 'c'], ['d']]
  )
  np.testing.assert_allclose(score(np.ones((1, 3)))['exact_match'], 1 / 3)


def test_distinct():
  texts = ['a b a b', 'a b c', '', 'd']
  score, _ = distinct.Metric(orders=(1, 2, 3)).measure(texts, None)
  found = score(np.array([[1.0, 1, 1, 1], [0, 0, 2, 1], [2, 0, 0, 0]]))
  np.testing.assert_allclose(found['distinct_1'], [4 / 8, 1, 2 / 8])
  # ab ba ab, ab bc
  np.testing.assert_allclose(found['distinct_2'], [3 / 5, 0, 2 / 6])
  np.testing.assert_allclose(found['distinct_3'], [3 / 3, 0, 2 / 4])


def sentence(length):
  return RNG.choice(['O', 'B-NP', 'I-NP', 'B-VP', 'I-VP'], length).tolist()


def test_entities():
  wanted = [sentence(n) for n in RNG.integers(1, 12, 30)]
  found = [[t if RNG.random() < 0.8 else 'O' for t in tags] for tags in wanted]
  score, signature = entities.measure(found, wanted)
  figures = score(np.ones((1, 30)))
  for name, function in (
    ('precision', theirs.precision_score),
    ('recall', theirs.recall_score),
    ('f1', theirs.f1_score),
  ):
    want = function(wanted, found)
    assert 0.3 < want < 0.95
    np.testing.assert_allclose(figures[name], want)
  # A sentence that is there twice is two sentences.
  weights = np.ones((1, 30))
  weights[0, 4] = 2
  want = theirs.f1_score([*wanted, wanted[4]], [*found, found[4]])
  np.testing.assert_allclose(score(weights)['f1'], want)
  assert signature.startswith('scheme:conlleval|seqeval:1.')


def test_entities_by_hand():
  wanted = [['B-NP', 'I-NP', 'O'], ['B-VP', 'B-NP']]
  found = [['B-NP', 'I-NP', 'B-VP'], ['B-VP', 'I-NP']]
  score, _ = entities.measure(found, wanted)
  # NP of two words and VP are right, also a last NP that begins with I.
  figures = score(np.ones((1, 2)))
  np.testing.assert_allclose(figures['precision'], 3 / 4)
  np.testing.assert_allclose(figures['recall'], 1)
  with pytest.raises(UserError, match='sentence 1 has 2 tags, and 1 were'):
    entities.measure([['O'], ['O']], [['O'], ['O', 'O']])
