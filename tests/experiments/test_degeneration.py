import numpy as np
import pytest

from ctxlm.experiments import degeneration
from tests.experiments import common
from tests.experiments.test_lm_ladder import text as text  # a fixture


@pytest.mark.slow
def test_smoke(text, tmp_path):
  summary = common.smoke(
    'degeneration',
    tmp_path / 'dir',
    f'--config.tasks.text.data.path={text}',
  )
  assert len(summary['points']) == 2
  for point in summary['points'].values():
    last = {k.split('/')[-1]: v for k, v in point['last'].items()}
    assert 1 < last['human_perplexity'] < 30
    for way in degeneration.STRATEGIES:
      assert 1 < last[f'{way}_perplexity'] < 30
      assert 0 < last[f'{way}_distinct'] <= 1
    # The text that is likeliest at every step is none that is less likely.
    assert last['greedy_perplexity'] < last['pure_perplexity']


@pytest.mark.parametrize(
  'tokens, wanted',
  [
    ([1, 2, 3, 1, 2, 3, 1, 2, 3], True),
    ([9, 1, 2, 1, 2, 1, 2], True),
    ([1, 2, 1, 2, 1, 2, 9], False),  # not at the end
    ([9, 9, 2, 1, 2, 1, 2], False),  # twice, and a half
    ([5, 1, 1, 1], False),  # of one token
    ([5, 1, 1, 1, 1, 1, 1], True),  # which is a phrase of two
    ([1], False),
  ],
)
def test_what_repeats(tokens, wanted):
  assert degeneration.repeats(tokens) == wanted


def test_zipf_is_the_slope_over_ranks():
  often = (1000 / np.arange(1, 30) ** 1.5).round().astype(int)
  tokens = np.repeat(np.random.default_rng(0).permutation(29), often)
  assert degeneration.zipf(tokens) == pytest.approx(1.5, abs=0.02)
  assert degeneration.zipf(np.arange(9)) == pytest.approx(0, abs=1e-9)
  assert degeneration.zipf(np.ones(9)) == 0


PERPLEXITY = {
  'greedy': 5.0,
  'beam': 6.0,
  'top_k=40': 30.0,
  'top_p=0.5': 20.0,
  'top_p=0.8': 45.0,
  'top_p=0.9': 90.0,
  'top_p=0.95': 120.0,
  'pure': 180.0,
  'human': 100.0,
}
REPEATS = dict.fromkeys(PERPLEXITY, 0.0) | {'greedy': 1.0, 'beam': 0.4}
MODELS = list(degeneration.NAMES)


def rows(own, model='', perplexity=None, repeats=None):
  """Of one model, or of all, figures are others."""
  changed = model in ('', own['model']['name'])
  found = {}
  for name, usual, other in (
    ('perplexity', PERPLEXITY, perplexity),
    ('repeats', REPEATS, repeats),
  ):
    for way, value in (usual | (other or {} if changed else {})).items():
      found[f'eval/written/{way}_{name}'] = value * (1 + 1e-5 * own['seed'])
  for way in PERPLEXITY:
    found |= {f'eval/written/{way}_{m}': 0.9 for m in ('zipf', 'distinct')}
  return [{'step': 0} | found]


def beside(model):
  """Returns cases just inside and just outside of a model's bounds."""
  cases = []
  for way, inside, outside in (
    ('greedy', 0.501, 0.499),
    ('beam', 0.201, 0.199),
    ('top_p=0.95', 0.0199, 0.0201),
    ('pure', 0.0199, 0.0201),
  ):
    for value, letters in ((inside, 'RRR'), (outside, 'DRR')):
      cases.append(({'model': model, 'repeats': {way: value}}, letters))
  for change, letters in (
    ({'greedy': 29.9, 'human': 60.0}, 'RRR'),
    ({'greedy': 30.1, 'human': 60.5}, 'RDR'),  # not below top-k 40
    ({'greedy': 20.0, 'human': 40.1}, 'RRR'),
    ({'greedy': 20.0, 'human': 39.9}, 'RDR'),
    ({'beam': 49.9}, 'RRR'),
    ({'beam': 50.1}, 'RDR'),
    ({'pure': 100.1}, 'RRN'),
    ({'pure': 99.9}, 'RDN'),
    ({'top_k=40': 119.9}, 'RRR'),
    ({'top_k=40': 120.1}, 'RDR'),
    ({'human': 30.1, 'greedy': 14.9}, 'RRR'),  # nearest to 45
    ({'human': 29.9, 'greedy': 14.9}, 'RRN'),  # and to 20
    ({'human': 146.9}, 'RRR'),
    ({'human': 147.1}, 'RRN'),
    ({'human': 499.9, 'pure': 501.0, 'top_p=0.95': 499.0}, 'RRR'),
    ({'human': 500.1, 'pure': 501.0, 'top_p=0.95': 499.0}, 'UUU'),
  ):
    cases.append(({'model': model, 'perplexity': change}, letters))
  return cases


NAN = float('nan')
CASES = [
  ({}, 'RRR'),
  # Broken: nothing but NaN, and all as likely as all else.
  ({'perplexity': dict.fromkeys(PERPLEXITY, NAN)}, 'UUU'),
  ({'perplexity': dict.fromkeys(PERPLEXITY, 100.0)}, 'RNN'),
  ({'repeats': dict.fromkeys(REPEATS, 0.0)}, 'NRR'),
  ({'repeats': {'greedy': 0.1005}}, 'DRR'),
  ({'repeats': {'greedy': 0.0995}}, 'NRR'),
  ({'perplexity': {'pure': 5 * np.exp(0.505)}}, 'RDR'),
  ({'perplexity': {'pure': 5 * np.exp(0.495)}}, 'RNR'),
  *(case for model in MODELS for case in beside(model)),
]


def test_criteria():
  # Of p there are five, and none beside a bound.
  names = [f'{n}, nearest p' for n in degeneration.NAMES.values()]
  common.check(degeneration, rows, CASES, coarse=dict.fromkeys(names, 0.4))


def test_plots():
  common.draw(degeneration, rows)
