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
    # English has fewer bytes than that which are frequent.
    assert 10 < point['last']['eval/lengths/frequencies'] < 40


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


NAN = float('nan')
AT = {'alibi': 7.0, 'rotary': 6.8, 'sinusoidal': 7.5}
RATIO = {'alibi': 1.0, 'rotary': 2.0, 'sinusoidal': 4.0}


def rows(own, at=None, ratio=None, quarter=None):
  """Perplexities at L, and at more over it; 'quarter' is over ALiBi's, 7."""
  scheme = own['position']
  short = (AT | (at or {})).get(scheme, 8.0)
  long = short * (RATIO | (ratio or {})).get(scheme, 3.0)
  last = {'alibi': 7.0}.get(scheme, 7 * (quarter or {}).get(scheme, 2.0))
  row = {'step': 600, 'eval/lengths/frequencies': 25.0}
  for multiple in length.MULTIPLES:
    row[f'eval/lengths/perplexity_{multiple}'] = (
      short if multiple == 1 else long
    )
    row[f'eval/lengths/last_quarter_{multiple}'] = last
  return [row]


OTHERS = [s for s in length.SCHEMES if s not in ('alibi', 'none')]
CASES = [
  ({}, 'RRR'),
  # Broken: all know nothing; 18 % worse and 19 % better have no direction.
  ({'at': dict.fromkeys(length.SCHEMES, 260.0)}, 'UUU'),
  ({'at': {'alibi': 6.8 * 1.18}}, 'RNR'),
  ({'at': {'alibi': 6.8 * 0.81}}, 'RNR'),
  ({'at': {'rotary': NAN}}, 'UUU'),
  *(({'at': {s: 12.6}}, 'UUU') for s in length.SCHEMES),
  *(({'at': {s: 12.4}}, 'RRR') for s in ('t5', 'learned', 'none')),
  *(({'at': {s: 1.99}}, 'LLL') for s in length.SCHEMES),
  *(({'at': {s: 2.01}}, 'RRR') for s in ('t5', 'learned', 'none')),
  ({'ratio': {'alibi': 0.801}}, 'RRR'),
  ({'ratio': {'alibi': 0.799}}, 'DRR'),
  ({'ratio': {'alibi': 1.049}}, 'RRR'),
  ({'ratio': {'alibi': 1.051}}, 'DRR'),
  ({'ratio': {'rotary': 1.301}}, 'RRR'),
  ({'ratio': {'rotary': 1.299}}, 'DRR'),
  ({'ratio': {'rotary': 4.99, 'sinusoidal': 9.0}}, 'RRR'),
  ({'ratio': {'rotary': 5.01, 'sinusoidal': 9.0}}, 'DRR'),
  ({'ratio': {'sinusoidal': 2.01, 'rotary': 1.5}}, 'RRR'),
  ({'ratio': {'sinusoidal': 1.99, 'rotary': 1.5}}, 'DRR'),
  ({'ratio': {'rotary': 1.0518}}, 'DRR'),
  ({'ratio': {'rotary': 1.0508}}, 'NRR'),
  ({'at': {'alibi': 6.8 * 1.099}}, 'RRR'),
  ({'at': {'alibi': 6.8 * 1.101}}, 'RNR'),
  ({'at': {'alibi': 6.8 * 0.901}}, 'RRR'),
  ({'at': {'alibi': 6.8 * 0.899}}, 'RNR'),
  ({'at': {'sinusoidal': 6.8 * 1.001}}, 'RRR'),
  ({'at': {'sinusoidal': 6.8 * 0.999}}, 'RNR'),
  *(({'quarter': {s: 1.051}}, 'RRR') for s in OTHERS),
  *(({'quarter': {s: 1.049}}, 'RRD') for s in OTHERS),
  ({'quarter': {'t5': 1.0203}}, 'RRD'),
  ({'quarter': {'t5': 1.0201}}, 'RRN'),
]


def test_criteria():
  common.check(length, rows, CASES)


def test_plots():
  common.draw(length, rows)
