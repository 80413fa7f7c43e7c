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
    best = 'bigram' if 'eval/theory/bigram_kl' in last else 'with_recall'
    assert last[f'eval/theory/{best}_kl'] > 0
    more = last['eval/theory/loss'] - last[f'eval/theory/{best}_loss']
    assert last['eval/theory/above'] == pytest.approx(more)
    assert last['eval/theory/above_error'] > 0


NAN = float('nan')


def rows(
  own,
  two=0.01,
  one=0.12,
  early=0.2,
  near=0.02,
  late=0.2,
  fall=0.11,
  rise=0.4,
  apart=0,
  recall=(0.5, 0.95),
  text=0.01,
):
  """Bayes has 0.88 nats, and 0.12 more the unigram; the drop is at 300."""
  step = np.arange(25, 1201, 25)
  layers = own['num_layers']
  gap = (one, two)[layers - 1]

  def sigmoid(middle):
    z = np.clip((step - middle) / 2, -50, 50)
    return 1 / (1 + np.exp(-z)) if layers == 2 else 0 * z

  begin, end = near / early, late * (near + 0.1)
  return [
    {
      'step': int(s),
      'eval/theory/loss': 0.88 + gap + fall * (1 - d) * (layers == 2),
      'eval/theory/above': gap,
      'eval/theory/above_error': 0.001,
      'eval/theory/bigram_loss': 0.88,
      'eval/theory/unigram_loss': 1.0,
      'eval/theory/without_recall_loss': 0.88 + gap - text,
      'eval/theory/unigram_kl': near + 0.1 * d,
      'eval/theory/bigram_kl': begin + (end - begin) * d,
      'eval/theory/previous': 0.05 + 0.6 * r,
      'eval/theory/prefix': 0.4 + rise * r,
      'eval/theory/prefix_even': 0.42,
      'eval/theory/recall': recall[layers - 1],
    }
    for s, d, r in zip(step, sigmoid(300), sigmoid(300 + apart))
  ]


CASES = [
  ({}, 'RRRR'),
  # Broken: diverged, a leak, nothing learned, no number.
  ({'one': 5 - 0.88}, 'URRR'),
  ({'two': -0.58}, 'LLLL'),
  ({'two': 1.0, 'fall': 0.0, 'rise': 0.0}, 'NUUR'),
  ({'one': NAN}, 'URRU'),
  ({'two': NAN}, 'UUUU'),
  # Beside each bound.
  ({'two': 0.0299}, 'RRRR'),
  ({'two': 0.0301}, 'DRRR'),
  ({'one': 0.0801}, 'RRRR'),
  ({'one': 0.0799}, 'DRRR'),
  ({'two': 0.0301, 'one': 0.0802}, 'DRRR'),
  ({'two': 0.0301, 'one': 0.08}, 'NRRR'),
  ({'one': 0.1399}, 'RRRR'),
  ({'one': 0.1401}, 'URRR'),
  ({'two': -0.0029}, 'RRRR'),
  ({'two': -0.0031}, 'LLLL'),
  ({'one': -0.0029}, 'NRRR'),
  ({'one': -0.0031}, 'LRRL'),
  ({'early': 0.499}, 'RRRR'),
  ({'early': 0.501}, 'RDRR'),
  ({'early': 0.816}, 'RDRR'),
  ({'early': 0.82}, 'RNRR'),
  ({'near': 0.0499}, 'RRRR'),
  ({'near': 0.0501}, 'RDRR'),
  ({'late': 0.499}, 'RRRR'),
  ({'late': 0.501}, 'RDRR'),
  ({'two': 0.0599}, 'DRRR'),
  ({'two': 0.0601}, 'DRUR'),
  ({'two': 0.1399}, 'NRUR'),
  ({'two': 0.1401}, 'NUUR'),
  ({'apart': 100}, 'RRRR'),
  ({'apart': -125}, 'RRNR'),
  ({'rise': 0.1005}, 'RRRR'),
  ({'rise': 0.0995}, 'RRNR'),
  ({'fall': 0.0201}, 'RRRR'),
  ({'fall': 0.0199}, 'RRNR'),
  ({'recall': (0.5, 0.851)}, 'RRRR'),
  ({'recall': (0.5, 0.849)}, 'RRRD'),
  ({'recall': (0.549, 0.95)}, 'RRRR'),
  ({'recall': (0.551, 0.95)}, 'RRRD'),
  ({'recall': (0.7395, 0.84)}, 'RRRD'),
  ({'recall': (0.7405, 0.84)}, 'RRRN'),
  ({'text': 0.0499}, 'RRRR'),
  ({'text': 0.0501}, 'RRRU'),
]


def test_criteria():
  common.check(induction, rows, CASES, {'steps apart': 0.3})


def test_plots():
  common.draw(induction, rows)
