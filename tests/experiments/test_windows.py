import types

import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.experiments import windows


def test_a_file_is_cut_once(tmp_path):
  path = tmp_path / 'book.txt'
  path.write_text(''.join(f'{i:04}' for i in range(1000)))
  source = windows.Source(str(path))
  (train,), (rest,) = source.records('train'), source.records('validation')
  assert train['text'] + rest['text'] == path.read_text()
  assert len(train['text']) == 3600
  prints = [source.fingerprint(s) for s in ('train', 'validation')]
  path.write_text('other words')
  assert len({*prints, source.fingerprint('train')}) == 3
  with pytest.raises(UserError, match='none.txt'):
    windows.Source(str(tmp_path / 'none.txt')).records('train')


def test_stream_has_no_document_bounds(tokenizer):
  objective = windows.Objective(tokenizer=tokenizer, max_length=6)
  row = {
    'tokens': np.array([4, 7, 4, 4, 8, 9], np.int32),
    'segment_ids': np.array([1, 1, 1, 2, 2, 2], np.int32),
    'positions': np.array([0, 1, 2, 0, 1, 2], np.int32),
  }
  features = objective.prepare(row, None)
  assert list(features['segment_ids']) == [1] * 6
  assert list(features['positions']) == list(range(6))
  assert list(features['weights']) == [1] * 5 + [0]


def test_nats_are_of_their_places():
  class Uniform:
    def __call__(self, tokens, **_):
      return tokens

    def logits(self, hidden):
      return np.zeros((*hidden.shape, 8))

  batch = {
    'tokens': np.zeros((3, 4), int),
    'targets': np.zeros((3, 4), int),
    'segment_ids': np.ones((3, 4), int),
    'positions': np.zeros((3, 4), int),
    'weights': np.array([[1, 1, 1, 0.0]] * 3),
  }
  nats = windows.nats_by_place(Uniform(), batch)
  np.testing.assert_allclose(nats, 3 * np.log(8) * np.array([1, 1, 1, 0]))


def test_sliding_windows_judge_the_same_tokens(tokenizer, monkeypatch):
  asked = []

  def call(function, batch):
    assert function is windows.nats_by_place
    asked.append(batch)
    return (batch['targets'] * batch['weights'])[0], {}

  rows = np.arange(1, 17)[None]
  weights = np.ones((1, 16))
  weights[:, -1] = 0
  batch = {'tokens': rows, 'targets': rows + 1, 'weights': weights}
  batch['positions'] = np.arange(16)[None]
  config = types.SimpleNamespace(
    max_length=4, model=types.SimpleNamespace(position='none')
  )
  bench = types.SimpleNamespace(config=config, call=call, task=lambda _: None)
  monkeypatch.setattr(
    windows.Evaluator,
    '_batches',
    lambda self, bench, task, size: [
      {k: v[:, :size] for k, v in batch.items()}
    ],
  )
  own = windows.Evaluator(multiples=(1, 2, 4))
  found = own.run(bench)
  # The last quarter of 16 is tokens 13 to 15, whose targets are 14 to 16.
  wanted = np.exp(np.mean([14, 15, 16]))
  for multiple in (1, 2, 4):
    assert found[f'sliding_{multiple}'] == pytest.approx(wanted)
  sizes = [x['tokens'].shape[1] for x in asked[3:]]
  assert sizes == [4] * 4 + [8] * 2 + [16]
  for x in asked[3:]:
    np.testing.assert_array_equal(
      x['positions'][0], range(x['tokens'].shape[1])
    )
