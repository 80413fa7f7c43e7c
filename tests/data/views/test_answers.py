"""Examples packed whole, and which of their tokens are answers."""

import pickle
import types

import numpy as np
import pytest

from ctxlm.data.views import answers
from ctxlm.errors import UserError


def open_view(records, tokenizer, length, fingerprint=''):
  """A record is {'ids', 'marks'}; one without has no room."""

  def examples(record):
    if 'wrong' in record:
      raise UserError('it is wrong')
    return [(record['ids'], record['marks'])] if record else [None]

  objective = types.SimpleNamespace(examples=examples, reads=())
  return answers.View.open(records, fingerprint, tokenizer, length, objective)


def test_every_example_is_there_whole_and_once(numbers, capsys):
  rng = np.random.default_rng(0)
  records = [
    {
      'ids': [i, *rng.integers(6, 99999, n - 1).tolist()],
      'marks': rng.integers(0, 2, n).astype(bool).tolist(),
    }
    for i, n in enumerate(rng.integers(1, 20, 60))
  ]
  records[5] = records[30] = {}
  view = open_view(records, numbers, 20)
  assert '2 of 60 answers are left out, the first of record 5' in (
    capsys.readouterr().err
  )
  found, tokens = {}, 0
  for i in range(len(view)):
    row = pickle.loads(pickle.dumps(view)).read(i, None)
    assert {len(v) for v in row.values()} == {20}
    for s in range(1, row['segment_ids'].max() + 1):
      place = row['segment_ids'] == s
      ids = row['tokens'][place].tolist()
      found[ids[0]] = {'ids': ids, 'marks': row['answers'][place].tolist()}
      assert row['positions'][place].tolist() == list(range(len(ids)))
    assert not row['answers'][row['segment_ids'] == 0].any()
    tokens += (row['segment_ids'] > 0).sum()
  assert found == {i: r for i, r in enumerate(records) if r}
  assert view.num_tokens == tokens > 0.85 * 20 * len(view)


def test_a_row_is_filled_to_its_end():
  examples = [([i] * n, [True] * n) for i, n in ((7, 4), (8, 5), (9, 4))]
  found = [row.tolist() for row, _, _ in answers.rows(iter(examples), 8, 0)]
  assert found == [[7] * 4 + [9] * 4, [8] * 5 + [0] * 3]


def test_mistakes(numbers):
  one = {'ids': [7, 8], 'marks': [False, True]}
  with pytest.raises(UserError, match='record 1 of the data: it is wrong'):
    open_view([one, {'wrong': 1}], numbers, 8, 'a')
  with pytest.raises(UserError, match='no answer of the 2 records has room'):
    open_view([{}, {}], numbers, 8, 'b')
