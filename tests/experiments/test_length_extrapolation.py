import pytest

from ctxlm.experiments import length_extrapolation as length
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('length_extrapolation', tmp_path / 'dir')
  for point in summary['points'].values():
    for multiple in length.MULTIPLES:
      # Bytes, hardly trained: the 262 of a uniform guess, times exp(1 / 2), as
      # logits of tied embeddings begin with a variance of 1.
      for kind in ('perplexity', 'sliding'):
        assert 100 < point['last'][f'eval/lengths/{kind}_{multiple}'] < 700
    # English has fewer bytes than that which are frequent.
    assert 10 < point['last']['eval/lengths/frequencies'] < 40


NAN = float('nan')
AT = {'alibi': 7.0, 'rotary': 6.8, 'sinusoidal': 7.5}
RATIO = {'alibi': 1.0, 'rotary': 2.0, 'sinusoidal': 4.0}


SLIDING = {'alibi': 7.0, 't5': 8.0, 'rotary': 12.0, 'sinusoidal': 20.0}


def rows(own, at=None, ratio=None, far=None, near=None):
  """Perplexities at L, and more over it; by sliding windows far and near."""
  scheme = own['position']
  short = (AT | (at or {})).get(scheme, 8.0)
  long = short * (RATIO | (ratio or {})).get(scheme, 3.0)
  last = (SLIDING | (far or {})).get(scheme, 13.0)
  first = (near or {}).get(scheme, 7.2)
  row = {'step': 600, 'eval/lengths/frequencies': 25.0}
  for multiple in length.MULTIPLES:
    row[f'eval/lengths/perplexity_{multiple}'] = (
      short if multiple == 1 else long
    )
    row[f'eval/lengths/sliding_{multiple}'] = first if multiple == 1 else last
  return [row]


CASES = [
  ({}, 'RRRR'),
  # Broken: all know nothing; 18 % worse and 19 % better have no direction.
  ({'at': dict.fromkeys(length.SCHEMES, 260.0)}, 'UUUU'),
  ({'at': {'alibi': 6.8 * 1.18}}, 'RNRR'),
  ({'at': {'alibi': 6.8 * 0.81}}, 'RNRR'),
  ({'at': {'rotary': NAN}}, 'UUUU'),
  *(({'at': {s: 12.6}}, 'UUUU') for s in length.SCHEMES),
  *(({'at': {s: 12.4}}, 'RRRR') for s in ('t5', 'learned', 'none')),
  *(({'at': {s: 1.99}}, 'LLLL') for s in length.SCHEMES),
  *(({'at': {s: 2.01}}, 'RRRR') for s in ('t5', 'learned', 'none')),
  ({'ratio': {'alibi': 0.801}}, 'RRRR'),
  ({'ratio': {'alibi': 0.799}}, 'DRRR'),
  ({'ratio': {'alibi': 1.049}}, 'RRRR'),
  ({'ratio': {'alibi': 1.051}}, 'DRRR'),
  ({'ratio': {'rotary': 1.301}}, 'RRRR'),
  ({'ratio': {'rotary': 1.299}}, 'DRRR'),
  ({'ratio': {'rotary': 4.99, 'sinusoidal': 9.0}}, 'RRRR'),
  ({'ratio': {'rotary': 5.01, 'sinusoidal': 9.0}}, 'DRRR'),
  ({'ratio': {'sinusoidal': 2.01, 'rotary': 1.5}}, 'RRRR'),
  ({'ratio': {'sinusoidal': 1.99, 'rotary': 1.5}}, 'DRRR'),
  ({'ratio': {'rotary': 1.0518}}, 'DRRR'),
  ({'ratio': {'rotary': 1.0508}}, 'NRRR'),
  ({'at': {'alibi': 6.8 * 1.099}}, 'RRRR'),
  ({'at': {'alibi': 6.8 * 1.101}}, 'RNRR'),
  ({'at': {'alibi': 6.8 * 0.901}}, 'RRRR'),
  ({'at': {'alibi': 6.8 * 0.899}}, 'RNRR'),
  ({'at': {'sinusoidal': 6.8 * 1.001}}, 'RRRR'),
  ({'at': {'sinusoidal': 6.8 * 0.999}}, 'RNRR'),
  ({'far': {'t5': 7.01}}, 'RRRR'),
  ({'far': {'t5': 7.15}}, 'RRRR'),
  ({'far': {'t5': 7.13}}, 'RRRR'),
  ({'far': {'t5': 6.99}}, 'RRNR'),
  ({'far': {'t5': 11.99}}, 'RRRR'),
  ({'far': {'t5': 12.01}}, 'RRDR'),
  ({'far': {'rotary': 19.99}}, 'RRRR'),
  ({'far': {'rotary': 20.01}}, 'RRDR'),
  ({'far': {'none': 7.01}}, 'RRRR'),
  ({'far': {'none': 6.99}}, 'RRDR'),
  ({'far': {'t5': 7.145, 'none': 6.9}}, 'RRDR'),
  ({'far': {'t5': 7.139, 'none': 6.9}}, 'RRNR'),
  *(({'near': {s: 7.01}}, 'RRRR') for s in length.SCHEMES),
  *(({'near': {s: 6.99}}, 'RRRD') for s in length.SCHEMES if s != 'alibi'),
  ({'near': {'alibi': 7.036, 't5': 6.9}}, 'RRRD'),
  ({'near': {'alibi': 7.0348, 't5': 6.9}}, 'RRRN'),
]


def test_criteria():
  common.check(length, rows, CASES)


def test_plots():
  common.draw(length, rows)
