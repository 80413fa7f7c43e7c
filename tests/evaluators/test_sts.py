"""Rank correlation of sentence pairs, against scipy on the same vectors."""

import json
import types

import numpy as np
import pytest
from scipy import stats

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.objectives import contrastive


@pytest.fixture
def judge(tokenizer, tmp_path, monkeypatch):
  """Judges rows (text_a, text_b, score) of a file; vectors are of its ids."""
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path / 'cache'))
  objective = contrastive.Objective(tokenizer=tokenizer, max_length=8)

  def vectors(task, rows):
    return np.array([np.bincount(t, minlength=50) for t, _ in rows], float)

  bench = types.SimpleNamespace(
    enough=lambda count: False,
    task=lambda name: types.SimpleNamespace(name='t', objective=objective),
    vectors=vectors,
  )

  def run(name, content):
    path = tmp_path / name
    path.write_text(content)
    data = {'name': 'files', 'split_patterns': {'validation': str(path)}}
    block = {'name': 'sts', 'data': data}
    return plugins.build('evaluators', block).run(bench)

  return run


def table(*scores):
  rows = [f'5 9 9\t5{" 9 7" * (n + 1)}\t{s}' for n, s in enumerate(scores)]
  return '\n'.join(['text_a\ttext_b\tscore', *rows]) + '\n'


def test_pairs_without_a_score_are_left_out(judge):
  whole = judge('a.tsv', table(1, 4.5, 2, 0))
  some = judge('b.tsv', table(1, 4.5, 2, 0, '', ''))
  assert some == whole and whole['pairs'] == 4
  lines = [
    {'text_a': '5', 'text_b': t, 'score': s}
    for t, s in (('5', 1), ('5 6', '2.5'), ('6', None))
  ]
  found = judge('c.jsonl', '\n'.join(map(json.dumps, lines)))
  assert found['pairs'] == 2


def test_by_hand(judge):
  found = judge('a.tsv', table(1, 4.5, 2))
  cosines = []
  for n in range(3):
    a, b = np.zeros(50), np.zeros(50)
    np.add.at(a, [1, 5, 9, 9, 2, 0, 0, 0], 1)
    np.add.at(b, [*[1, 5, *[9, 7] * (n + 1)][:7], 2], 1)
    b[0] = 8 - b.sum()
    cosines.append(a @ b / np.sqrt(a @ a * (b @ b)))
  expected = stats.spearmanr(cosines, [1, 4.5, 2]).statistic
  np.testing.assert_allclose(found['spearman_all'], expected)


def test_mistakes(judge):
  with pytest.raises(UserError, match="score of pair 1 is 'high', no number"):
    judge('a.tsv', table(1, 'high'))
  with pytest.raises(UserError, match="pair 0 is 'nan', no number"):
    judge('n.tsv', table('nan', 1))
  with pytest.raises(UserError, match="pair 0 has no text in 'text_b': ' '"):
    judge('e.tsv', 'text_a\ttext_b\tscore\n5\t \t1\n')
  with pytest.raises(UserError, match='no pair of the data has a score'):
    judge('a.tsv', table('', ''))
