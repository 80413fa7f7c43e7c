"""What is found for a row: text before it, the nearest first."""

import pickle
import types

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.context import passages
from ctxlm.errors import UserError
from ctxlm.objectives import retrieved
from tests.data.conftest import Numbers

LENGTH, PASSAGE, QUERY = 8, 4, 3


class Source:
  """Documents of numbers as a source."""

  def __init__(self, *documents):
    self.documents = documents

  def records(self, split):
    assert split == 'train'
    return [{'text': ' '.join(map(str, d))} for d in self.documents]

  def fingerprint(self, split):
    return f'{split} {self.documents}'


def open_view(documents, **options):
  """Returns the View of documents of numbers."""
  source = Source(*documents)
  tokenizer = Numbers()
  tokenizer.fingerprint = 'numbers of passages'
  objective = retrieved.Objective(
    passages=2, passage_length=PASSAGE, query=QUERY, tokenizer=tokenizer,
    max_length=LENGTH, **options,
  )  # fmt: skip
  return passages.View.open(
    source.records('train'), source.fingerprint('train'), tokenizer, LENGTH,
    objective,
  )  # fmt: skip


def found(row):
  """Returns the passages of a row, lists of tokens, without empty ones."""
  lists = [
    t[i > 0].tolist() for t, i in zip(row['passages'], row['passage_ids'])
  ]
  return [x for x in lists if x]


def test_the_answer_is_found_where_it_is_earlier_and_only_there():
  # The last row reads on from 21 22 23, which are in its own text once more.
  asked = [31, 32, 33, 34, 35, 36, 37, 38, 39, 21, 22, 23, 26, 27]
  asked += [21, 22, 23, 29, 30]
  view = open_view([[11, 21, 22, 23, 24, 25, 12], asked])
  row = view.read(3, None)
  assert row['tokens'].tolist() == [23, 26, 27, 21, 22, 23, 29, 30]
  assert found(row) == [[21, 22, 23, 24]]
  view = open_view([[11, 12, 13, 14, 15, 16, 17], asked])
  row = view.read(3, None)
  assert row['tokens'].tolist() == [23, 26, 27, 21, 22, 23, 29, 30]
  assert found(row) == []


def test_every_passage_ends_before_the_query_of_its_row_begins():
  rng = np.random.default_rng(0)
  documents = [rng.integers(6, 20, n).tolist() for n in (40, 3, 0, 25, 60)]
  view = open_view(documents)
  tokens, _ = view._windows.stream()
  places, goes_on = view._windows.places()
  assert goes_on.any() and not goes_on.all()
  some = 0
  for i in range(len(view)):
    row = view.read(i, None)
    np.testing.assert_array_equal(
      row['tokens'][row['segment_ids'] > 0],
      tokens[places[i] :][: (row['segment_ids'] > 0).sum()],
    )
    spans = [s for s in view._found[i].tolist() if s != [0, 0]]
    some += len(spans)
    assert not spans or goes_on[i]
    for a, b in spans:
      assert 0 <= a < b <= places[i] + 1 - QUERY
      assert tokens[a:b].tolist() in found(row)
    if len(spans) == 2:
      (a, b), (c, d) = spans
      assert b <= c or d <= a
  assert some > len(view) / 2
  again = pickle.loads(pickle.dumps(view))
  np.testing.assert_array_equal(
    again.read(3, None)['passages'], view.read(3, None)['passages']
  )


def test_of_another_text_equal_documents_are_left_out():
  own = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
  other = [41, 15, 16, 17, 42, 43]
  view = open_view([own], corpus=Source(own, other))
  assert found(view.read(1, None)) == [[15, 16, 17, 42]]
  view = open_view([own], corpus=Source(own))
  assert not found(view.read(1, None))


def reaches(passage, corpus, future):
  """Whether a passage has some of RUN future tokens that the corpus says."""
  size = passages.RUN
  runs = {tuple(future[i : i + size]) for i in range(len(future) - size + 1)}
  for document in corpus:
    starts = [
      i for i in range(len(document)) if document[i : i + PASSAGE] == passage
    ]
    for i in range(len(document) - size + 1):
      if tuple(document[i : i + size]) in runs:
        for start in starts:
          if start < i + size and i < start + PASSAGE:
            return True
  return False


def test_the_same_text_in_other_units_shows_no_row_its_own_future():
  rng = np.random.default_rng(0)
  parts = [rng.integers(6, 90, n).tolist() for n in (30, 50, 24)]
  parts[2][3:9] = parts[1][10:16]  # quoted by chance, and shorter than a run
  whole = [x for part in parts for x in part]
  for rows, corpus in ((parts, [whole]), ([whole], parts)):
    view = open_view(rows, corpus=Source(*corpus))
    tokens, begins = view._windows.stream()
    ends = np.append(np.flatnonzero(begins)[1:], len(tokens))
    places, _ = view._windows.places()
    framed = [[1, *document, 1] for document in corpus]
    some = 0
    for i, place in enumerate(places):
      end = ends[np.searchsorted(ends, place, 'right')]
      future = tokens[place + 1 : end].tolist()
      for passage in found(view.read(i, None)):
        some += 1
        assert not reaches(passage, framed, future)
    assert some > 3


class Lengths:
  """A retriever to whom long texts are near."""

  key = ('lengths',)

  def index(self, texts, tokenizer):
    scores = np.array([len(t) for t in texts], np.float32)
    return types.SimpleNamespace(scores=lambda q: np.stack([scores] * len(q)))


def test_a_retriever_of_ones_own_decides():
  own, other = list(range(10, 22)), [31, 32, 33, 34, 35]
  view = open_view([own], corpus=Source(other), retriever=Lengths())
  assert found(view.read(1, None)) == [[1, 31, 32, 33], [34, 35, 1]]


def test_a_corpus_of_nothing_is_one_line(capsys):
  with pytest.raises(UserError, match='the corpus of passages: .* no text'):
    open_view([[7, 8]], corpus=Source([]))
  view = open_view([[7, 8], [9]])
  assert 'no row of' in capsys.readouterr().err
  assert not view.read(0, None)['passage_ids'].any()
  # A query's tokens may be greater than all of the corpus.
  view = open_view([list(range(90, 99))], corpus=Source([7, 8]))
  assert not view.read(1, None)['passage_ids'].any()


def test_what_bm25_needs_is_said(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'bm25s', None)
  with pytest.raises(UserError, match=r"pip install 'ctxlm\[retrieval\]'"):
    _ = plugins.build('context.retrievers', {'name': 'bm25'}).key
