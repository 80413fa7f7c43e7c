"""Chunks of sentences and their rivals, against the documents themselves."""

import collections

import numpy as np
import pytest

from ctxlm.data.views import pairs
from ctxlm.errors import UserError


def open_pairs(documents, tokenizer, length, fingerprint):
  return pairs.View.open(documents, fingerprint, tokenizer, length, None)


@pytest.fixture
def prose():
  """Documents of sentences '1001. 1002 1003.': thousands name documents."""
  rng = np.random.default_rng(1)
  documents = []
  for d in range(5):
    n = iter(range(1000 * (d + 1), 1000 * (d + 2)))
    sizes = rng.integers(1, 12, 30)
    lines = [' '.join(str(next(n)) for _ in range(s)) + '.' for s in sizes]
    documents.append({'text': ' '.join(lines)})
  return documents


def test_pairs_cover_each_document_once(numbers, prose):
  view = open_pairs(prose, numbers, 23, 'p')
  rng = np.random.default_rng(0)
  found = collections.defaultdict(list)
  for i in range(len(view)):
    example = view.read(i, rng)
    chunk = np.concatenate(example['sentences'])
    assert len(chunk) <= 20 and chunk.dtype == np.int32
    found[example['document']] += chunk.tolist()
  for d, record in enumerate(prose):
    assert found[d] == numbers.encode(record['text'])


def test_pairs_hold_whole_sentences(numbers, prose):
  view = open_pairs(prose, numbers, 23, 'p2')
  wanted = [numbers.encode(s) for r in prose for s in r['text'].split('.')]
  wanted = [s for s in wanted if s]
  rng = np.random.default_rng(0)
  found = [
    s.tolist() for i in range(len(view)) for s in view.read(i, rng)['sentences']
  ]
  assert found == wanted


def test_rivals_come_from_every_other_document(numbers, prose):
  view = open_pairs(prose, numbers, 23, 'p3')
  rng = np.random.default_rng(0)
  rivals = collections.Counter()
  for _ in range(2000):
    example = view.read(0, rng)
    other = example['other']
    assert 1 <= len(other) <= 20
    assert (np.diff(other) == 1).all()  # consecutive, of one document
    rivals[int(other[0]) // 1000 - 1] += 1
  assert set(rivals) == {1, 2, 3, 4}
  # 500 expected; 5 standard deviations of the binomial are 97.
  assert all(abs(n - 500) < 97 for n in rivals.values())


def test_pairs_cut_what_is_too_long(numbers):
  documents = [{'text': ' '.join(map(str, range(100, 150))) + '.'}] * 2
  view = open_pairs(documents, numbers, 13, 'p4')
  assert len(view) == 2
  example = view.read(0, np.random.default_rng(0))
  assert [s.tolist() for s in example['sentences']] == [list(range(100, 110))]
  assert len(example['other']) == 10


def test_pairs_need_two_documents(numbers):
  with pytest.raises(UserError, match='two documents'):
    open_pairs([{'text': '7. 8.'}], numbers, 16, 'p5')
