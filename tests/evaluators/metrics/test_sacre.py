"""BLEU and chrF are sacrebleu's own, their intervals and signatures too."""

import sys

import numpy as np
import pytest
import sacrebleu

from ctxlm.errors import UserError
from ctxlm.evaluators.metrics import bleu, bootstrap, chrf

RNG = np.random.default_rng(0)
WORDS = ['the', 'a', 'cat', 'sees', 'Likes', ',', '.', 'moon.', 'river', 'old']


def sentence(length):
  return ' '.join(RNG.choice(WORDS, length))


def edited(text):
  words = text.split()
  words[RNG.integers(len(words))] = RNG.choice(WORDS)
  return ' '.join(words)


WANTED = [sentence(n) for n in RNG.integers(4, 12, 40)]
TEXTS = ['' if i == 3 else edited(text) for i, text in enumerate(WANTED)]


@pytest.mark.parametrize('most', [1, 2])
@pytest.mark.parametrize(
  'metric, theirs',
  [
    (bleu.Metric(), sacrebleu.BLEU()),
    (
      bleu.Metric('char', lowercase=True),
      sacrebleu.BLEU(tokenize='char', lowercase=True),
    ),
    (chrf.Metric(), sacrebleu.CHRF()),
    (chrf.Metric(word_order=2), sacrebleu.CHRF(word_order=2)),
  ],
  ids=['bleu', 'bleu char', 'chrf', 'chrf++'],
)
def test_equal_to_the_library(metric, theirs, most):
  references, columns = [[text] for text in WANTED], [WANTED]
  if most == 2:  # some have a second one
    second = [edited(t) if i % 3 else None for i, t in enumerate(WANTED)]
    columns.append(second)
    for own, other in zip(references, second):
      own += [other] if other else []
  want = theirs.corpus_score(TEXTS, columns, n_bootstrap=1000)
  score, signature = metric.measure(TEXTS, references)
  assert signature == str(theirs.get_signature())
  name = 'chrf' if isinstance(metric, chrf.Metric) else 'bleu'
  found = bootstrap.figures(score, len(TEXTS), metric.halves)
  np.testing.assert_allclose(found[name], want.score, rtol=1e-12)
  assert 10 < want.score < 90
  half = (found[f'{name}_high'] - found[f'{name}_low']) / 2
  np.testing.assert_allclose(half, want._ci, rtol=1e-5)  # theirs is float32


def test_mistakes(monkeypatch):
  with pytest.raises(UserError, match='metric bleu: example 1 has no ref'):
    bleu.Metric().measure(['a', 'b'], [['a'], []])
  monkeypatch.setitem(sys.modules, 'sacrebleu', None)
  with pytest.raises(UserError, match=r"sacrebleu: pip install 'ctxlm\[metr"):
    chrf.Metric().measure(['a'], [['a']])
