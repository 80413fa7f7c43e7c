import numpy as np
import pytest

from ctxlm.experiments import induction
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('induction', tmp_path / 'dir')
  for point in summary['points'].values():
    last = point['last']
    assert np.isfinite(last['eval/theory/loss'])
    assert 0 < last['eval/theory/previous'] < 1
    if 'eval/theory/bigram_loss' in last:
      assert last['eval/theory/bigram_kl'] > 0


def test_heads_scores_by_hand():
  tokens = np.array([[5, 7, 5, 9]])
  weights = np.zeros((1, 1, 4, 4))
  weights[0, 0, [1, 2, 3], [0, 1, 2]] = [0.5, 0.25, 1.0]

  def sown(*layers):
    return {
      'stack': {
        f'layers_{i}': {'attention': {'attention': (w,)}}
        for i, w in enumerate(layers)
      }
    }

  scores = induction.heads(tokens, sown(weights))
  assert scores['previous'] == np.mean([0.5, 0.25, 1.0])
  # Only place 2 (a 5) follows an earlier copy, whose next token is place 1.
  assert scores['prefix'] == 0.25
  # The first layer looks back, the last one at what followed.
  scores = induction.heads(tokens, sown(weights, 0 * weights, 2 * weights))
  assert scores == {'previous': np.mean([0.5, 0.25, 1.0]), 'prefix': 0.5}


def rows(own, one=0.12, late=300, recall=0.95):
  step = np.arange(25, 1201, 25)
  two = own['num_layers'] == 2
  done = 1 / (1 + np.exp(-(step - 300) / 20)) if two else 0 * step
  rose = 1 / (1 + np.exp(-(step - late) / 20)) if two else 0 * step
  return [
    {
      'step': int(s),
      'eval/theory/loss': 0.88 + one * (1 - d) + 0.01,
      'eval/theory/bigram_loss': 0.88,
      'eval/theory/unigram_loss': 1.0,
      'eval/theory/unigram_kl': 0.02 + 0.1 * d,
      'eval/theory/bigram_kl': 0.12 - 0.1 * d,
      'eval/theory/previous': 0.05 + 0.6 * r,
      'eval/theory/prefix': 0.4 + 0.4 * r,
      'eval/theory/recall': recall if two else 0.5,
    }
    for s, d, r in zip(step, done, rose)
  ]


def test_criteria(tmp_path):
  assert common.verdicts(induction, rows) == ['reproduced'] * 4

  def weak(own):
    return rows(own, one=0.06, late=500, recall=0.8)

  assert common.verdicts(induction, weak) == [
    'direction only',  # one layer is too good
    'reproduced',
    'direction only',  # 200 steps apart
    'direction only',
  ]

  def none(own):
    return rows({'num_layers': 1})

  assert common.verdicts(induction, none) == ['not reproduced'] * 2 + [
    'not reproduced',  # nothing moves, at the same step
    'not reproduced',
  ]
  assert common.verdicts(induction, rows, done=False) == ['unfinished'] * 4
  common.draw(induction, rows, tmp_path)
