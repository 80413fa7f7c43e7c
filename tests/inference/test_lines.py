"""Lines in, answers out, one for each, with the number of a wrong one."""

import io
import json
import math
import sys

import pytest

from ctxlm.errors import UserError
from ctxlm.inference import lines, score
from tests import tiny


def shout(texts):
  if 'bad' in texts:
    raise UserError('a bad word')
  return [text.upper() for text in texts]


def test_a_line_out_for_each_line_in(tmp_path, monkeypatch):
  path = tmp_path / 'in.txt'
  texts = [f'line {i}' if i % 3 else '' for i in range(2 * lines.TOGETHER + 5)]
  path.write_text('\n'.join(texts) + '\n')
  answers = list(lines.answers(path, shout))
  assert answers == [(text, text.upper()) for text in texts]
  monkeypatch.setattr(lines, 'STDIN', path)
  monkeypatch.setattr(sys, 'stdin', io.StringIO())
  assert list(lines.answers(None, shout)) == answers


@pytest.mark.parametrize('place', [0, 3, lines.TOGETHER, lines.TOGETHER + 2])
def test_a_wrong_line_is_named_after_those_before_it(tmp_path, place):
  path = tmp_path / 'in.txt'
  texts = ['good'] * place + ['bad', 'good']
  path.write_text('\n'.join(texts))
  answers = []
  with pytest.raises(UserError, match=rf'^line {place + 1}: a bad word$'):
    for _, answer in lines.answers(path, shout):
      answers.append(answer)
  assert answers == ['GOOD'] * place


def test_mistakes(tmp_path):
  path = tmp_path / 'in.txt'
  path.write_text('')
  with pytest.raises(UserError, match='in.txt is empty'):
    list(lines.answers(path, shout))
  with pytest.raises(UserError, match='must have one line'):
    lines.only(path)
  path.write_bytes(b'good\nno \xff\n')
  with pytest.raises(UserError, match='--input: .*in.txt.*UTF-8.*line 2'):
    list(lines.answers(path, shout))
  path.write_text('one\n')
  assert lines.only(path) == 'one'
  path.write_text('one\ntwo\n')
  with pytest.raises(UserError, match='must have one line'):
    lines.only(path)


def call(tmp_path, verb, *flags, stdin=''):
  """Returns (status, [object of each line], standard error)."""
  (tmp_path / 'stdin').write_text(stdin)
  argv = [sys.executable, '-m', 'ctxlm', verb, *flags]
  errors = tmp_path / 'errors'
  process = tiny.fork(argv, 1, errors, str(tmp_path / 'stdin'), haste=True)
  process.join(300)
  out = (tmp_path / 'errors.out').read_text().splitlines()
  return process.exitcode, [json.loads(x) for x in out], errors.read_text()


def test_score_and_fill_answer_standard_input(loaded, tmp_path):
  run = loaded['causal']
  texts = ['the cat', '', 'the cat sees the moon']
  model = f'--model={run.folder}'
  status, rows, err = call(
    tmp_path, 'score', model, stdin='\n'.join(texts) + '\n'
  )
  assert status == 0, err
  assert [row['text'] for row in rows] == texts
  for row, text in zip(rows, texts, strict=True):
    tokens, logps = score.score(run, text) if text else ([], [])
    assert row['tokens'] == tokens
    assert row['logps'] == pytest.approx(logps, abs=1e-5)
    assert row['sum'] == pytest.approx(sum(logps), abs=1e-4)
  assert rows[1]['perplexity'] is None
  want = math.exp(-rows[2]['sum'] / len(rows[2]['logps']))
  assert rows[2]['perplexity'] == pytest.approx(want, rel=1e-4)

  model = f'--model={loaded["mlm"].folder}'
  status, rows, err = call(
    tmp_path, 'fill', model, '--top=2', stdin='a [MASK]\n[MASK] [MASK]\nno\n'
  )
  assert status == 0, err
  assert [len(row['masks']) for row in rows] == [1, 2, 0]
  assert all(len(best) == 2 for row in rows for best in row['masks'])


def test_generate_answers_standard_input(loaded, tmp_path):
  model = f'--model={loaded["causal"].folder}'
  flags = (model, '--strategy=greedy', '--max_new_tokens=4')
  status, rows, err = call(
    tmp_path, 'generate', *flags, stdin='the cat\nthe moon is\nthe cat\n'
  )
  assert status == 0, err
  assert [row['prompt'] for row in rows] == [
    'the cat', 'the moon is', 'the cat'
  ]  # fmt: skip
  assert rows[0]['texts'] == rows[2]['texts'] and len(rows[0]['texts']) == 1
