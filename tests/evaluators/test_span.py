"""Exact match and F1 of answers, with thresholds, by hand."""

import functools
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.evaluators.bench import Bench
from ctxlm.objectives import span

CONTEXT = 'The old cat sees a dog.'
WORDS = CONTEXT.split()


class Objective(span.Objective):
  """Answers as it is told, in place of a model."""

  def answer(self, record, outputs):
    text, margin = outputs
    own = {'answer': text, 'no_answer': margin, 'others': []}
    if self.unanswerable and margin > self.threshold:
      return {'answer': '', 'no_answer': margin, 'others': [own]}
    return own


def judge(told, golds, rehearses=False, ids=(), **options):
  """Returns the evaluator's figures of answers (text, margin)."""
  records = [
    {
      'id': ids[i] if ids else i,
      'question': 'Who?',
      'context': CONTEXT,
      'answers': {
        'text': own,
        'answer_start': [CONTEXT.index(text) for text in own],
      },
    }
    for i, own in enumerate(golds)
  ]
  task = types.SimpleNamespace(name='t', objective=Objective(**options))
  bench = types.SimpleNamespace(
    task=lambda name: task,
    view=lambda task, split: types.SimpleNamespace(records=records),
    enough=lambda count: rehearses,
    answers=lambda task, records: told[: len(records)],
  )
  bench.labelled = functools.partial(Bench.labelled, bench)
  return plugins.build('evaluators', {'name': 'span'}).run(bench)


def test_all_answered():
  told = [('old cat', 0.0), ('dog.', 9.0), ('The', -1.0), ('sees', 0.0)]
  golds = [['old cat'], ['a dog', 'cat'], ['old'], ['old', 'sees a dog']]
  found = judge(told, golds)
  assert found['examples'] == 4
  # 'dog.' is 'a dog' but for the article; of 'sees a dog' it has one of two.
  assert found['squad_exact'] == 100 * 2 / 4
  assert found['squad_f1'] == pytest.approx(100 * (1 + 1 + 0 + 2 / 3) / 4)
  assert found['squad_f1_low'] < found['squad_f1'] < found['squad_f1_high']
  assert not any('best' in name for name in found)
  assert judge(told, golds, rehearses=True)['examples'] == 2


@pytest.mark.parametrize('unanswerable', [None, True, False])
def test_some_without_an_answer(unanswerable):
  told = [('old', -3.0), ('cat', 1.0), ('dog', 2.0), ('sees', -4.0)]
  golds = [['old'], ['cat'], [], []]
  found = judge(told, golds, unanswerable=unanswerable)
  # Of a checkpoint that doesn't say, none may be given.
  may = unanswerable is not False
  figures = {
    'exact': 50,
    'answered_exact': 50 if may else 100,
    'unanswered_exact': 50 if may else 0,
    'best_exact': 75,  # above 1 and below 2 three are right
    'best_f1': 75,
    'best_exact_threshold': 1,
  }
  for name, wanted in figures.items():
    assert found[f'squad_{name}'] == pytest.approx(wanted), name
  found = judge(told, golds, threshold=1.5, unanswerable=unanswerable)
  assert found['squad_exact'] == pytest.approx(75 if may else 50)


def test_where_none_is_best():
  found = judge([('old', -3.0), ('cat', 1.0)], [[], []], unanswerable=True)
  assert found['squad_best_exact'] == 100
  assert np.isfinite(found['squad_best_exact_threshold'])


def test_mistakes_of_the_split():
  with pytest.raises(
    UserError, match="split 'validation': .* record 1 has an e"
  ):
    judge([('old', 0.0)] * 2, [['old'], ['']])
  with pytest.raises(UserError, match="record 2 has the id 'a' of record 0"):
    judge([('old', 0.0)] * 3, [['old']] * 3, ids='aba')
