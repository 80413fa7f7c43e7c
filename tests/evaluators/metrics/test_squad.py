"""SQuAD's scores on cases that the official script's rules decide."""

import numpy as np
import pytest

from ctxlm.evaluators.metrics import bootstrap, squad


@pytest.mark.parametrize(
  'text, reference, exact, f1',
  [
    ('Denver Broncos', 'Denver Broncos', 1, 1),
    ('the Denver  broncos.', 'Denver Broncos', 1, 1),
    ('Broncos', 'Denver Broncos', 0, 2 / 3),
    ('an apple a day', 'apple day', 1, 1),
    ('theatre', 'the atre', 0, 0),  # an article is a whole word
    ("Levi's Stadium", 'Levis Stadium', 1, 1),  # punctuation leaves no gap
    ('twenty-one', 'twentyone', 1, 1),
    ('50–10', '50 10', 0, 0),  # a dash that ASCII doesn't have stays
    ('a a b b c', 'b c c', 0, 4 / 6),  # of b b c and b c c two are shared
    ('', '', 1, 1),
    ('the', '', 1, 1),
    ('Paris', '', 0, 0),
    ('', 'Paris', 0, 0),
  ],
)
def test_official_rules(text, reference, exact, f1):
  assert squad.exact(text, reference) == exact
  np.testing.assert_allclose(squad.f1(text, reference), f1)


def test_the_best_reference_counts_and_none_is_no_answer():
  texts = ['Saint Bernadette', 'nothing', '', '']
  references = [['Bernadette Soubirous', 'Bernadette'], ['it', 'nothing'], []]
  references.append(['Paris'])
  score, _ = squad.Metric().measure(texts, references)
  found = {k: v[0] for k, v in score(np.ones((1, 4))).items()}
  assert found['squad_exact'] == 50
  np.testing.assert_allclose(found['squad_f1'], 100 * (2 / 3 + 1 + 1) / 4)
  np.testing.assert_allclose(found['squad_answered_exact'], 100 / 3)
  np.testing.assert_allclose(found['squad_answered_f1'], 100 * (5 / 3) / 3)
  assert found['squad_unanswered_exact'] == 100
  intervals = bootstrap.figures(score, 4)
  assert not np.isnan(list(intervals.values())).any()
  score, _ = squad.Metric().measure(texts[:2], references[:2])
  assert score(np.ones((1, 2))).keys() == {'squad_exact', 'squad_f1'}


@pytest.mark.parametrize('seed', range(20))
def test_the_best_threshold_is_the_best_of_all(seed):
  rng = np.random.default_rng(seed)
  answered, empty = rng.integers(0, 2, (2, 30)).astype(bool)
  scores = np.where(answered, rng.random(30) * ~empty, empty)
  unanswerable = rng.integers(-5, 6, 30) / 4  # some are the same
  best, at = squad.best_threshold(scores, unanswerable, answered, empty)

  def mean(threshold):
    return squad.with_threshold(
      scores, unanswerable, answered, threshold
    ).mean()

  np.testing.assert_allclose(mean(at), best)
  every = [mean(t) for t in (-np.inf, *unanswerable)]
  np.testing.assert_allclose(max(every), best)


def test_thresholds_by_hand():
  given = [0.9, 0.1, 0.5], [False, True, True]
  found = squad.with_threshold([0.0, 0.6, 0.8], *map(np.array, given), 0.4)
  assert found.tolist() == [1, 0.6, 0]
