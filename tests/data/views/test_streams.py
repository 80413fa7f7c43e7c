"""Streams, against the documents one after another."""

import pickle
import types

import numpy as np
import pytest

from ctxlm.data import loader, views
from ctxlm.data.views import streams
from ctxlm.errors import UserError
from ctxlm.objectives import causal
from tests.data.views.test_windows import framed


def open_streams(documents, tokenizer, length, fingerprint):
  objective = types.SimpleNamespace(frame='bos')
  return streams.View.open(documents, fingerprint, tokenizer, length, objective)


def batches(view, size, steps=None, rows=None, start=0):
  """Returns batches of training, or, of no steps, of an evaluation."""
  prepare = causal.Objective(kind='stream', max_length=view.length).prepare
  options = dict(seed=0, task='t', batch_size=size)
  options['rows'] = np.arange(size) if rows is None else np.array(rows)
  if steps is None:
    return list(loader.eval_batches(view, prepare, **options))
  return list(
    loader.train_batches(
      view, prepare, start_step=start, num_steps=steps, **options
    )
  )


@pytest.mark.parametrize('length, size', [(3, 2), (7, 5), (20, 3)])
def test_rows_go_on_an_epoch_long(numbers, number_documents, length, size):
  view = open_streams(number_documents, numbers, length, 's')
  assert isinstance(view, views.Contiguous)
  text = np.concatenate(framed(number_documents))
  own = (len(text) - 1) // size
  steps = -(-own // length)
  found = batches(view, size, 2 * steps + 1)
  for step, batch in enumerate(found):
    assert batch['tokens'].shape == (size, length)
    assert (batch['carried'] == (step % steps > 0)).all()
    assert (batch['valid'] == 1).all()
  for epoch in (found[:steps], found[steps : 2 * steps]):
    for row in range(size):
      own_text = text[row * own : (row + 1) * own + 1]
      for name, want in (('tokens', own_text[:-1]), ('targets', own_text[1:])):
        line = np.concatenate([b[name][row] for b in epoch])
        np.testing.assert_array_equal(line[:own], want)
      weights = np.concatenate([b['weights'][row] for b in epoch])
      # All but what documents begin with, and what is no text.
      ends = own_text[:-1] == 1
      begins = ends & (own_text[1:] == 1)
      np.testing.assert_array_equal(weights[:own], ~begins)
      assert (weights[own:] == 0).all()
  used = np.concatenate([b['segment_ids'][0] for b in found[:steps]])
  assert (used[:own] == 1).all()  # no document is another segment


def test_an_evaluation_is_one_stream(numbers, number_documents):
  view = open_streams(number_documents, numbers, 6, 's')
  text = np.concatenate(framed(number_documents))
  found = batches(view, 4)
  assert len(found) == -(-(len(text) - 1) // 6)
  assert [b['carried'].tolist() for b in found[:2]] == [[0.0] * 4, [1.0] * 4]
  for b in found:
    assert b['valid'].tolist() == [1, 0, 0, 0]
  line = np.concatenate([b['targets'][0] for b in found])
  np.testing.assert_array_equal(line[: len(text) - 1], text[1:])
  weights = sum((b['weights'] * b['valid'][:, None]).sum() for b in found)
  assert weights == len(text) - len(framed(number_documents))


def test_hosts_and_resume_change_nothing(numbers, number_documents):
  view = open_streams(number_documents, numbers, 5, 's')
  whole = batches(view, 4, 9)
  for name in whole[0]:
    for n, batch in enumerate(batches(view, 4, 9, rows=[2, 3], start=4)):
      np.testing.assert_array_equal(batch[name], whole[n + 4][name][2:])


def test_it_pickles_and_its_fingerprint_knows_the_length(numbers):
  documents = [{'text': '10 11 12'}, {'text': '  '}, {'text': '20 21'}]
  view = open_streams(documents, numbers, 4, 'p')
  view.cut(0, 2)
  again = pickle.loads(pickle.dumps(view))
  row = {k: v.tolist() for k, v in again.cut(2, 6).items()}
  assert row == {
    'tokens': [11, 12, 1, 1, 20],
    'segment_ids': [1, 1, 1, 2, 2],
    'positions': [0, 1, 2, 3, 4],
  }
  assert len(again) == 2
  assert again.read(1, None)['tokens'].tolist() == [1, 1, 20, 21, 1]
  other = open_streams(documents, numbers, 5, 'p')
  assert other.folder == view.folder and other.fingerprint != view.fingerprint
  assert view.num_bytes == len('10 11 12') + len('20 21')


def test_a_text_without_text_is_told(numbers):
  with pytest.raises(UserError, match='no text'):
    open_streams([{'text': ' '}], numbers, 4, 'e')
