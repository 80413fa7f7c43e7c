import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.experiments import length_extrapolation as length
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('length_extrapolation', tmp_path / 'dir')
  for point in summary['points'].values():
    for multiple in length.MULTIPLES:
      # Bytes, hardly trained: the 262 of a uniform guess, times exp(1 / 2), as
      # logits of tied embeddings begin with a variance of 1.
      assert 100 < point['last'][f'eval/lengths/perplexity_{multiple}'] < 700


def test_a_file_is_cut_once(tmp_path):
  path = tmp_path / 'book.txt'
  path.write_text(''.join(f'{i:04}' for i in range(1000)))
  source = length.Source(str(path))
  (train,), (rest,) = source.records('train'), source.records('validation')
  assert train['text'] + rest['text'] == path.read_text()
  assert len(train['text']) == 3600
  prints = [source.fingerprint(s) for s in ('train', 'validation')]
  path.write_text('other words')
  assert len({*prints, source.fingerprint('train')}) == 3
  with pytest.raises(UserError, match='none.txt'):
    length.Source(str(tmp_path / 'none.txt')).records('train')


def test_stream_has_no_document_bounds(tokenizer):
  objective = length.Objective(tokenizer=tokenizer, max_length=6)
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
  nats = length.nats_by_place(Uniform(), batch)
  np.testing.assert_allclose(nats, 3 * np.log(8) * np.array([1, 1, 1, 0]))


def rows(own, alibi=1.0, rotary=2.0):
  ratio = {'alibi': alibi, 'rotary': rotary, 'sinusoidal': 4.0}
  at = {'alibi': 7.0, 'rotary': 6.8, 'sinusoidal': 7.5}
  scheme = own['position']
  row = {'step': 600}
  for multiple in length.MULTIPLES:
    value = at.get(scheme, 8.0)
    if multiple > 1:
      value *= ratio.get(scheme, 3.0)
    for name in ('perplexity', 'last_quarter'):
      row[f'eval/lengths/{name}_{multiple}'] = value
  return [row]


def test_criteria(tmp_path):
  assert common.verdicts(length, rows) == ['reproduced'] * 3

  def weak(own):
    return rows(own, alibi=1.2)

  assert common.verdicts(length, weak)[0] == 'direction only'

  def none(own):
    return rows(own, alibi=5.0, rotary=1.0)

  assert common.verdicts(length, none) == [
    'not reproduced',
    'reproduced',
    'not reproduced',
  ]
  assert common.verdicts(length, rows, done=False) == ['unfinished'] * 3
  common.draw(length, rows, tmp_path)
