import pytest

from ctxlm.experiments.benchmarks import ngram
from tests import tiny


def test_they_agree(tmp_path, capsys):
  pytest.importorskip('nltk')
  text = tiny.write_text(tmp_path / 'text.txt')
  rows = ngram.main(
    ['--text', str(text), '--orders', '2', '3', '--few', '900', '--mark']
  )
  assert [r['what'].split(',')[0] for r in rows if 'logps' in r] == [
    'ctxlm'
  ] * 3
  for row in rows:
    assert row.get('differ', 0) < 1e-5
    assert 1 < row['validation'] < 100 and row['tokens/s'] > 0
  assert rows[0]['bytes'] < 100
  # nltk's, and ours of the same words.
  assert rows[-1]['test'] == pytest.approx(rows[-2]['test'], rel=1e-5)
  assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
