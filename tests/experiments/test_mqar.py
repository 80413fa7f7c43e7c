import jax
import numpy as np
import pytest

from ctxlm.experiments import mqar
from tests.experiments import common


@pytest.mark.slow
def test_smoke(tmp_path):
  summary = common.smoke_by_command('mqar', tmp_path / 'dir')
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


def rows(own, attention=0.995, other=0.2, gain=0.1):
  name, width = own['name'], own['hidden_size']
  value = other + gain * (width > 64)
  if name == 'transformer' and own['num_layers'] == 2:
    value = attention
  return [{'step': s, 'eval/recall/accuracy': value} for s in (100, 200)]


def test_criteria(tmp_path):
  assert common.verdicts(mqar, rows) == ['reproduced'] * 4

  def weak(own):
    return rows(own, attention=0.95, other=0.6)

  assert common.verdicts(mqar, weak) == ['direction only'] * 4

  def none(own):
    return rows(own, attention=0.1, gain=-0.1)

  verdicts = common.verdicts(mqar, none)
  assert verdicts[:2] == ['not reproduced'] * 2
  assert common.verdicts(mqar, rows, done=False) == ['unfinished'] * 4
  common.draw(mqar, rows, tmp_path)
