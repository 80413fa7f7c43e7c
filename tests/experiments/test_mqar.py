import jax
import numpy as np
import pytest

from ctxlm.experiments import mqar
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke('mqar', tmp_path / 'dir')
  assert len(summary['points']) == 3
  for point in summary['points'].values():
    assert 0 <= point['last']['eval/recall/accuracy'] <= 1


def test_every_key_is_asked_once_and_answers_are_not_shown():
  source = mqar.Source(vocab_size=40, length=32, pairs=5)
  keys = jax.random.split(jax.random.key(0), 200)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  gaps = []
  for tokens, queries, targets in zip(
    batch['tokens'], batch['queries'], batch['targets']
  ):
    pairs = dict(zip(tokens[0:10:2], tokens[1:10:2]))
    assert len(pairs) == 5 and all(1 <= k < 20 <= v for k, v in pairs.items())
    assert len(set(pairs.values())) == 5
    assert len(set(queries)) == 5 and (queries >= 10).all()
    for query, target in zip(queries, targets):
      assert pairs[tokens[query]] == target
    rest = np.setdiff1d(np.arange(10, 32), queries)
    assert (tokens[rest] == 0).all()
    gaps += list((queries - 10) // 2)
  # Near gaps are likelier than far ones.
  assert np.mean(np.array(gaps) < 3) > 2 * np.mean(np.array(gaps) >= 8)
  with pytest.raises(ValueError, match='4'):
    mqar.Source(length=16, pairs=5)


NAN = float('nan')
CELLS = [('attention', n, 64) for n in (4, 8, 16)] + [('attention', 8, 128)]
OTHERS = [('convolution', 8, 64), ('convolution', 8, 128)]
OTHERS += [('attention, 1 layer', 8, 64), ('lstm', 8, 64)]


def rows(own, accuracy=None, above=None):
  """Attention recalls, and others guess; `above` is the loss over ln(pairs)."""
  mixer = {'convolution': 'convolution', 'recurrent': 'lstm'}.get(
    own['name'], 'attention' if own['num_layers'] == 2 else 'attention, 1 layer'
  )
  cell = mixer, own['pairs'], own['hidden_size']
  right = dict.fromkeys(CELLS, 0.995) | dict.fromkeys(OTHERS, 0.15)
  right |= {('convolution', 8, 128): 0.25} | (accuracy or {})
  more = dict.fromkeys(CELLS, -2.0 + np.log(8) - 2) | (above or {})
  loss = np.log(own['pairs']) + more.get(cell, 0.01)
  return [
    {
      'step': s,
      'eval/recall/accuracy': right[cell],
      'eval/recall/loss': float(loss),
    }
    for s in (100, 200)
  ]


SOLVED = CELLS[1]
CASES = [
  ({}, 'RRRRR'),
  # Broken: an LSTM below chance that has not learned to guess.
  ({'accuracy': {OTHERS[3]: 0.05}, 'above': {OTHERS[3]: 0.8}}, 'RRRRU'),
  ({'accuracy': dict.fromkeys(CELLS, NAN)}, 'UUUUU'),
  *(({'accuracy': {cell: 0.981}}, 'RRRRR') for cell in CELLS),
  ({'accuracy': {SOLVED: 0.979}}, 'DUUUU'),
  *(({'accuracy': {cell: 0.979}}, 'DRRRR') for cell in CELLS if cell != SOLVED),
  ({'accuracy': {CELLS[0]: 0.751}}, 'DRRRR'),
  ({'accuracy': {CELLS[0]: 0.749}}, 'NRRRR'),
  *(({'above': {cell: 0.0999}}, 'RRRRR') for cell in CELLS + OTHERS),
  *(({'above': {cell: 0.1001}}, 'URRRR') for cell in CELLS),
  *(
    ({'above': {cell: 0.1001}}, letters)
    for cell, letters in zip(OTHERS, ('RUURR', 'RRURR', 'RRRUR', 'RRRRU'))
  ),
  ({'accuracy': {OTHERS[0]: 0.499, OTHERS[1]: 0.7}}, 'RRRRR'),
  ({'accuracy': {OTHERS[0]: 0.501, OTHERS[1]: 0.7}}, 'RDRRR'),
  ({'accuracy': {OTHERS[0]: 0.8945, OTHERS[1]: 0.99}}, 'RDRRR'),
  ({'accuracy': {OTHERS[0]: 0.8955, OTHERS[1]: 0.99}}, 'RNRRR'),
  ({'accuracy': {OTHERS[1]: 0.2005}}, 'RRRRR'),
  ({'accuracy': {OTHERS[1]: 0.1995}}, 'RRDRR'),
  ({'accuracy': {OTHERS[1]: 0.1702}}, 'RRDRR'),
  ({'accuracy': {OTHERS[1]: 0.1698}}, 'RRNRR'),
  ({'accuracy': dict.fromkeys(OTHERS[2:], 0.499)}, 'RRRRR'),
  ({'accuracy': dict.fromkeys(OTHERS[2:], 0.501)}, 'RRRDD'),
  ({'accuracy': dict.fromkeys(OTHERS[2:], 0.8945)}, 'RRRDD'),
  ({'accuracy': dict.fromkeys(OTHERS[2:], 0.8955)}, 'RRRNN'),
]


def test_criteria():
  common.check(mqar, rows, CASES)


def test_plots():
  common.draw(mqar, rows)
