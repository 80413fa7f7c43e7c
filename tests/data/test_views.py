"""Packing, against the documents themselves."""

import collections
import pickle

import numpy as np
import pytest

from ctxlm.data import views
from ctxlm.errors import UserError


def read_all(view):
  return [view.read(i, None) for i in range(len(view))]


def pieces(view):
  """Returns every piece's tokens, in order."""
  found = []
  for row in read_all(view):
    for s in range(1, row['segment_ids'].max() + 1):
      found.append(row['tokens'][row['segment_ids'] == s].tolist())
  return found


def framed(documents, first=1, last=1):
  texts = (d['text'].split() for d in documents)
  return [[first, *map(int, t), last] for t in texts if t]


def test_windows_by_hand(numbers):
  documents = [{'text': '10 11 12 13 14'}, {'text': '20'}]
  view = views.windows(documents, numbers, 4, overlap=1, fingerprint='a')
  rows = [{k: v.tolist() for k, v in r.items()} for r in read_all(view)]
  assert rows == [
    {'tokens': [1, 10, 11, 12], 'segment_ids': [1] * 4,
     'positions': [0, 1, 2, 3]},
    {'tokens': [12, 13, 14, 1], 'segment_ids': [1] * 4,
     'positions': [0, 1, 2, 3]},
    {'tokens': [1, 20, 1, 0], 'segment_ids': [1, 1, 1, 0],
     'positions': [0, 1, 2, 0]},
  ]  # fmt: skip
  assert view.num_bytes == len('10 11 12 13 14') + len('20')
  assert view.num_tokens == 11


@pytest.mark.parametrize('length', [2, 3, 7, 16, 200])
def test_without_overlap_each_token_is_there_once(
  numbers, number_documents, length
):
  view = views.windows(number_documents, numbers, length, fingerprint='b')
  expected = [t for d in framed(number_documents) for t in d]
  assert [t for p in pieces(view) for t in p] == expected
  # Rows are full, but for the last.
  assert all((r['segment_ids'] > 0).all() for r in read_all(view)[:-1])


@pytest.mark.parametrize('length', [2, 3, 7, 16, 200])
def test_with_overlap_each_token_is_predicted_once(
  numbers, number_documents, length
):
  view = views.windows(
    number_documents, numbers, length, overlap=1, fingerprint='c'
  )
  predicted = collections.Counter(
    pair for p in pieces(view) for pair in zip(p, p[1:])
  )
  documents = framed(number_documents)
  expected = collections.Counter(
    pair for d in documents for pair in zip(d, d[1:])
  )
  assert predicted == expected


def test_positions_restart_in_each_piece(numbers, number_documents):
  view = views.windows(number_documents, numbers, 16, fingerprint='d')
  for row in read_all(view):
    for s in range(1, row['segment_ids'].max() + 1):
      own = row['positions'][row['segment_ids'] == s]
      np.testing.assert_array_equal(own, np.arange(len(own)))
    assert (row['positions'][row['segment_ids'] == 0] == 0).all()
    assert {v.dtype for v in row.values()} == {np.dtype(np.int32)}


def test_cls_frame(numbers, number_documents):
  view = views.windows(
    number_documents, numbers, 200, fingerprint='e', frame='cls'
  )
  assert pieces(view) == framed(number_documents, 2, 3)
  numbers.cls_id = None  # such as GPT-2's
  view = views.windows(
    number_documents, numbers, 200, fingerprint='e2', frame='cls'
  )
  assert pieces(view) == framed(number_documents, 1, 1)


def test_bytes_are_those_of_utf8(numbers):
  view = views.windows([{'text': '7\u00a08'}], numbers, 8, fingerprint='f')
  assert view.num_bytes == 4


def test_rows_are_cached_by_content(numbers, number_documents):
  def open_one(length=8, overlap=0, fingerprint='g'):
    return views.windows(
      number_documents, numbers, length, overlap, fingerprint
    )

  first, calls = open_one(), numbers.calls
  again = open_one()
  assert numbers.calls == calls and again.fingerprint == first.fingerprint
  others = [open_one(9), open_one(overlap=1), open_one(fingerprint='h')]
  assert len({v.fingerprint for v in [first, *others]}) == 4
  assert numbers.calls > calls


def test_pickle_carries_no_data(numbers):
  view = views.windows([{'text': '7 ' * 50000}], numbers, 100, fingerprint='i')
  view.read(0, None)
  data = pickle.dumps(view)
  assert len(data) < 2000
  np.testing.assert_array_equal(
    pickle.loads(data).read(3, None)['tokens'], view.read(3, None)['tokens']
  )


@pytest.mark.parametrize(
  'documents, match',
  [
    ([], 'no text'),
    ([{'text': '  '}], 'no text'),
    ([{'body': '7'}], "no field 'text'"),
    ([{'text': 7}], 'is no text but int'),
  ],
)
def test_windows_mistakes(numbers, documents, match):
  with pytest.raises(UserError, match=match):
    views.windows(documents, numbers, 8, fingerprint=f'mistake {match}')


def test_texts(number_documents):
  view = views.texts(number_documents, 'x')
  assert len(view) == 10 and view.read(3, None) is number_documents[3]
  with pytest.raises(UserError, match='no records'):
    views.texts([], 'x')


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
  view = views.pairs(prose, numbers, 23, 'p')
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
  view = views.pairs(prose, numbers, 23, 'p2')
  wanted = [numbers.encode(s) for r in prose for s in r['text'].split('.')]
  wanted = [s for s in wanted if s]
  rng = np.random.default_rng(0)
  found = [
    s.tolist() for i in range(len(view)) for s in view.read(i, rng)['sentences']
  ]
  assert found == wanted


def test_rivals_come_from_every_other_document(numbers, prose):
  view = views.pairs(prose, numbers, 23, 'p3')
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
  view = views.pairs(documents, numbers, 13, 'p4')
  assert len(view) == 2
  example = view.read(0, np.random.default_rng(0))
  assert [s.tolist() for s in example['sentences']] == [list(range(100, 110))]
  assert len(example['other']) == 10


def test_pairs_need_two_documents(numbers):
  with pytest.raises(UserError, match='two documents'):
    views.pairs([{'text': '7. 8.'}], numbers, 16, 'p5')
