"""ROUGE is rouge-score's, and by hand where that is short."""

import numpy as np
from rouge_score import rouge_scorer

from ctxlm.evaluators.metrics import rouge

ONE = np.ones((1, 2))


def test_by_hand():
  score, signature = rouge.Metric().measure(
    ['The cats sat on mats', 'no'], [['a cat sat'], ['yes', 'oh no']]
  )
  found = score(ONE)
  # 2 shared stems of 5 and 3: F = 2 * 2 / 8; then 1 of 1 and 2: F = 2 / 3.
  np.testing.assert_allclose(found['rouge1'], (1 / 2 + 2 / 3) / 2)
  # cat sat is one of 4 and of 2 bigrams: F = 2 / 6.
  np.testing.assert_allclose(found['rouge2'], (1 / 3 + 0) / 2)
  assert signature.startswith('stemmer:yes|rouge-score:0.')
  score, signature = rouge.Metric(stemmer=False).measure(
    ['The cats sat on mats', 'no'], [['a cat sat'], ['yes', 'oh no']]
  )
  np.testing.assert_allclose(score(ONE)['rouge1'], (1 / 4 + 2 / 3) / 2)
  assert signature.startswith('stemmer:no|')


def test_equal_to_the_library():
  texts = ['a b c d\ne f g', 'x y z w']
  wanted = ['e f a b c\nd g', 'y x z y w']
  score, _ = rouge.Metric().measure(texts, [[text] for text in wanted])
  theirs = rouge_scorer.RougeScorer(rouge.KINDS, use_stemmer=True)
  one = [theirs.score(want, text) for want, text in zip(wanted, texts)]
  for kind, value in score(ONE).items():
    np.testing.assert_allclose(value, np.mean([s[kind].fmeasure for s in one]))
  assert score(ONE)['rougeL'] != score(ONE)['rougeLsum']  # lines are sentences
  weighed = score(np.array([[3.0, 1.0]]))['rougeL']
  values = [s['rougeL'].fmeasure for s in one]
  np.testing.assert_allclose(weighed, (3 * values[0] + values[1]) / 4)
