"""Packing, against the documents themselves."""

import collections
import pickle
import types

import numpy as np
import pytest

from ctxlm.data.views import windows
from ctxlm.errors import UserError


def open_windows(
  documents, tokenizer, length, overlap=0, fingerprint='', frame='bos'
):
  objective = types.SimpleNamespace(overlap=overlap, frame=frame)
  return windows.View.open(documents, fingerprint, tokenizer, length, objective)


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
  view = open_windows(documents, numbers, 4, overlap=1, fingerprint='a')
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


@pytest.mark.parametrize('length', [2, 3, 5, 16, 200])
def test_the_stream_is_of_whole_documents(numbers, number_documents, length):
  view = open_windows(number_documents, numbers, length, 1, fingerprint='s')
  tokens, begins = view.stream()
  starts = [*np.flatnonzero(begins), len(tokens)]
  found = [tokens[a:b].tolist() for a, b in zip(starts, starts[1:])]
  assert found == framed(number_documents)


@pytest.mark.parametrize('length', [2, 3, 5, 8, 11])
def test_the_stream_of_any_texts(numbers, length):
  # Some begin in a row's last place, so that the next row begins like a text.
  rng = np.random.default_rng(length)
  documents = [
    {'text': ' '.join(map(str, rng.integers(10, 30, rng.integers(1, 12))))}
    for _ in range(60)
  ]
  view = open_windows(documents, numbers, length, 1, fingerprint=f'r{length}')
  tokens, begins = view.stream()
  starts = [*np.flatnonzero(begins), len(tokens)]
  found = [tokens[a:b].tolist() for a, b in zip(starts, starts[1:])]
  assert found == framed(documents)
  places, _ = view.places()
  for row, place in zip(read_all(view), places):
    assert row['tokens'][0] == tokens[place]


@pytest.mark.parametrize('length', [2, 3, 7, 16, 200])
def test_without_overlap_each_token_is_there_once(
  numbers, number_documents, length
):
  view = open_windows(number_documents, numbers, length, fingerprint='b')
  expected = [t for d in framed(number_documents) for t in d]
  assert [t for p in pieces(view) for t in p] == expected
  # Rows are full, but for the last.
  assert all((r['segment_ids'] > 0).all() for r in read_all(view)[:-1])


@pytest.mark.parametrize('length', [2, 3, 7, 16, 200])
def test_with_overlap_each_token_is_predicted_once(
  numbers, number_documents, length
):
  view = open_windows(
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
  view = open_windows(number_documents, numbers, 16, fingerprint='d')
  for row in read_all(view):
    for s in range(1, row['segment_ids'].max() + 1):
      own = row['positions'][row['segment_ids'] == s]
      np.testing.assert_array_equal(own, np.arange(len(own)))
    assert (row['positions'][row['segment_ids'] == 0] == 0).all()
    assert {v.dtype for v in row.values()} == {np.dtype(np.int32)}


def test_cls_frame(numbers, number_documents):
  view = open_windows(
    number_documents, numbers, 200, fingerprint='e', frame='cls'
  )
  assert pieces(view) == framed(number_documents, 2, 3)
  numbers.cls_id = None  # such as GPT-2's
  view = open_windows(
    number_documents, numbers, 200, fingerprint='e2', frame='cls'
  )
  assert pieces(view) == framed(number_documents, 1, 1)


def test_bytes_are_those_of_utf8(numbers):
  view = open_windows([{'text': '7\u00a08'}], numbers, 8, fingerprint='f')
  assert view.num_bytes == 4


def test_rows_are_cached_by_content(numbers, number_documents):
  def open_one(length=8, overlap=0, fingerprint='g'):
    return open_windows(number_documents, numbers, length, overlap, fingerprint)

  first, calls = open_one(), numbers.calls
  again = open_one()
  assert numbers.calls == calls and again.fingerprint == first.fingerprint
  others = [open_one(9), open_one(overlap=1), open_one(fingerprint='h')]
  assert len({v.fingerprint for v in [first, *others]}) == 4
  assert numbers.calls > calls


def test_pickle_carries_no_data(numbers):
  view = open_windows([{'text': '7 ' * 50000}], numbers, 100, fingerprint='i')
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
    ([{'text_a': '7', 'text_b': '8'}], "pairs.*data.fields={'text': FIELD}"),
    ([{'text': 7}], 'is no text but int'),
  ],
)
def test_windows_mistakes(numbers, documents, match):
  with pytest.raises(UserError, match=match):
    open_windows(documents, numbers, 8, fingerprint=f'mistake {match}')
