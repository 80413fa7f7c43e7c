import pytest

from ctxlm.experiments import icl_vs_iwl
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('icl_vs_iwl', tmp_path / 'dir')
  assert len(summary['points']) == 2
  for point in summary['points'].values():
    last = point['last']
    for kind in ('in_context', 'in_weights'):
      assert 0 <= last[f'eval/labels/{kind}'] <= 1
      below = last[f'eval/labels/{kind}_bayes'] - last[f'eval/labels/{kind}']
      assert last[f'eval/labels/{kind}_above'] == pytest.approx(below)
    assert last['eval/labels/by_weights'] + last['eval/labels/flipped'] <= 1


NAN = float('nan')
MANY, FEW, MIDDLE, NONE, ZIPF = 'many', 'few', 'middle', 'none', 'zipf'
CONTEXT = {MANY: 0.97, FEW: 0.2, MIDDLE: 0.9, NONE: 0.1, ZIPF: 0.8}
WEIGHTS = {MANY: 0.1, FEW: 0.98, MIDDLE: 0.4, NONE: 0.9, ZIPF: 0.7}
FLIPPED = {MANY: 0.97, FEW: 0.06, MIDDLE: 0.8, NONE: 0.1, ZIPF: 0.7}
OLD = {MANY: 0.01, FEW: 0.58, MIDDLE: 0.1, NONE: 0.8, ZIPF: 0.2}


def rows(
  own,
  context=None,
  weights=None,
  flipped=None,
  old=None,
  trained=None,
  gap=None,
):
  """Bayes has 1 - `gap` less than the model: above is what is given."""
  arm = {64: FEW, 512: MIDDLE, 4096: MANY}.get(own['num_classes'])
  arm = ZIPF if own['zipf'] else arm if own['burstiness'] else NONE
  made = {
    'in_context': (CONTEXT | (context or {}))[arm],
    'in_weights': (WEIGHTS | (weights or {}))[arm],
    'flipped': (FLIPPED | (flipped or {}))[arm],
    'by_weights': (OLD | (old or {}))[arm],
    'accuracy': (trained or {}).get(arm, 0.95),
    'in_context_bayes': 1.0,
    'in_weights_bayes': 1.0,
  }
  for kind in ('in_context', 'in_weights'):
    made[f'{kind}_above'] = (gap or {}).get((arm, kind), 0.01)
    made[f'{kind}_above_error'] = 0.01
  return [
    {'step': s} | {f'eval/labels/{k}': v for k, v in made.items()}
    for s in (250, 500)
  ]


KINDS = ('in_context', 'in_weights')
CASES = [
  ({}, 'RRR'),
  # Broken: no number, nothing learned.
  ({'context': dict.fromkeys(CONTEXT, NAN)}, 'UUU'),
  ({'trained': {MANY: 0.1}}, 'URR'),
  # Beside each bound.
  ({'context': {MANY: 0.901}}, 'RRR'),
  ({'context': {MANY: 0.899}}, 'DRR'),
  ({'flipped': {MANY: 0.901}}, 'RRR'),
  ({'flipped': {MANY: 0.899}}, 'DRR'),
  ({'weights': {MANY: 0.299}}, 'RRR'),
  ({'weights': {MANY: 0.301}}, 'DRR'),
  ({'context': {FEW: 0.299}}, 'RRR'),
  ({'context': {FEW: 0.301}}, 'DRR'),
  ({'weights': {FEW: 0.401}}, 'RRR'),
  ({'weights': {FEW: 0.399}}, 'DRR'),
  ({'flipped': {FEW: 0.1449}}, 'RRR'),
  ({'flipped': {FEW: 0.1451}}, 'DRR'),
  ({'flipped': {MANY: 0.92}, 'old': {MANY: 0.2299}}, 'RRR'),
  ({'flipped': {MANY: 0.92}, 'old': {MANY: 0.2301}}, 'DRR'),
  ({'context': {MANY: 0.302}, 'weights': {MANY: 0.88, FEW: 0.98}}, 'DRR'),
  ({'context': {MANY: 0.298}, 'weights': {MANY: 0.88, FEW: 0.98}}, 'NRR'),
  ({'trained': {MANY: 0.851, FEW: 0.851}}, 'RRR'),
  ({'trained': {MANY: 0.849}}, 'URR'),
  ({'trained': {FEW: 0.849}}, 'URR'),
  ({'trained': {NONE: 0.601}}, 'RRR'),
  ({'trained': {NONE: 0.599}}, 'RUR'),
  ({'trained': {ZIPF: 0.851}}, 'RRR'),
  ({'trained': {ZIPF: 0.849}}, 'RRU'),
  ({'context': {NONE: 0.349}}, 'RRR'),
  ({'context': {NONE: 0.351}}, 'RDR'),
  ({'weights': {NONE: 0.701}}, 'RRR'),
  ({'weights': {NONE: 0.699}}, 'RDR'),
  ({'context': {NONE: 0.799}}, 'RDR'),
  ({'context': {NONE: 0.801}}, 'RNR'),
  ({'context': {ZIPF: 0.501}}, 'RRR'),
  ({'context': {ZIPF: 0.499}}, 'RRD'),
  ({'weights': {ZIPF: 0.501}}, 'RRR'),
  ({'weights': {ZIPF: 0.499}}, 'RRD'),
  ({'context': {ZIPF: 0.3505}}, 'RRD'),
  ({'context': {ZIPF: 0.3495}}, 'RRN'),
  *(({'gap': {(arm, k): -0.0299}}, 'RRR') for arm in CONTEXT for k in KINDS),
  *(({'gap': {(MANY, k): -0.0305}}, 'LRR') for k in KINDS),
  *(({'gap': {(FEW, k): -0.0305}}, 'LRR') for k in KINDS),
  *(({'gap': {(NONE, k): -0.0305}}, 'RLR') for k in KINDS),
  *(({'gap': {(ZIPF, k): -0.0305}}, 'RRL') for k in KINDS),
]


def test_criteria():
  common.check(icl_vs_iwl, rows, CASES)


def test_plots():
  common.draw(icl_vs_iwl, rows)
