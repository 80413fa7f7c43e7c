"""Triples of inference: which hypotheses of a premise stand together."""

import pytest

from ctxlm import plugins
from ctxlm.errors import UserError

PAIRS = [
  ('p', 'a', 0), ('q', 'b', 2), ('p', 'c', 2), ('p', 'd', 1), ('p', 'e', 0),
  ('q', 'f', 0), ('q', 'g', 0), ('r', 'h', 0), ('p', 'i', 2), ('s', 'j', 2),
]  # fmt: skip


@pytest.fixture
def source(tmp_path, monkeypatch):
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path / 'cache'))
  rows = ['\t'.join(map(str, pair)) for pair in PAIRS]
  (tmp_path / 'a.tsv').write_text('\n'.join(rows))
  data = {
    'name': 'files',
    'split_patterns': {'train': str(tmp_path / 'a.tsv')},
    'columns': ('text_a', 'text_b', 'label'),
  }

  def build(**options):
    return plugins.build(
      'data.sources', {'name': 'triples', 'data': data} | options
    )

  return build


def test_what_follows_beside_what_contradicts(source):
  made = source(entailment='0', contradiction='2')
  records = made.records('train')
  found = [tuple(records[i].values()) for i in range(len(records))]
  assert found == [('p', 'a', 'c'), ('p', 'e', 'i'), ('q', 'f', 'b')]
  assert list(records[0]) == ['text_a', 'text_b', 'negative']
  other = source(entailment='2', contradiction='0')
  assert other.fingerprint('train') != made.fingerprint('train')
  assert other.records('train')[0]['text_b'] == 'c'


def test_mistakes(source):
  with pytest.raises(UserError, match="both labels, 'entailment' and 'contra"):
    source().records('train')
  with pytest.raises(UserError, match='needs data'):
    source(data=None)
