import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.experiments import facts
from ctxlm.objectives import causal, retrieved

SOURCE = facts.Source(
  titles=5, keys=6, values=4, asked=3, told=4, relevant=0.5, num_examples=400
)


@pytest.fixture(scope='module')
def batch():
  return facts.fixed_batch(SOURCE)


def pairs(said):
  """Returns {key: value} of what stands behind a title."""
  return dict(zip(said[1::2].tolist(), said[2::2].tolist()))


def asked(batch, i):
  """Returns {key: value} of what a text asks for."""
  keys, values = batch['tokens'][i][1:], batch['targets'][i][1:]
  return dict(zip(keys.tolist(), values.tolist()))


def test_facts_are_those_of_the_title(batch):
  for i in range(400):
    title, own = batch['tokens'][i][0], asked(batch, i)
    assert 1 <= title <= 5 and len(own) == 3
    assert all(6 <= k <= 11 and 12 <= v <= 15 for k, v in own.items())
    told = {}
    for passage in batch['passages'][i]:
      assert len(pairs(passage)) == 4
      if passage[0] == title:
        told = pairs(passage)
        assert all(told[k] == v for k, v in own.items())
    assert bool(told) == batch['related'][i]
    answers = batch['weights'][i] > 0
    np.testing.assert_array_equal(answers, [False, True, True, True])
    np.testing.assert_array_equal(batch['known'][i], answers & bool(told))
    titles = [title, *batch['passages'][i][:, 0]]
    assert len({*titles}) == 3 - bool(told)
  assert np.mean(batch['related']) == pytest.approx(0.5, abs=0.1)


def test_neither_order_nor_place_says_what_is_asked(batch):
  places, first = [], []
  for i in np.flatnonzero(batch['related']):
    titles = batch['passages'][i][:, 0].tolist()
    where = titles.index(batch['tokens'][i][0])
    told = list(pairs(batch['passages'][i][where]))
    places.append(where)
    first += [told.index(k) - j for j, k in enumerate(asked(batch, i))]
  assert np.mean(places) == pytest.approx(0.5, abs=0.1)
  shares = np.bincount(np.array(first) + 2) / len(first)
  np.testing.assert_allclose(
    shares, np.array([1, 2, 3, 3, 2, 1]) / 12, atol=0.04
  )


def test_without_their_passage_facts_are_even(batch):
  # Of another title a passage knows no more of a value than chance.
  same = [
    own[k] == v
    for i in np.flatnonzero(~batch['related'])
    for own in [asked(batch, i)]
    for passage in batch['passages'][i]
    for k, v in pairs(passage).items()
    if k in own
  ]
  assert len(same) > 500
  assert np.mean(same) == pytest.approx(1 / 4, abs=0.05)
  values = np.bincount(batch['targets'][batch['weights'] > 0])[12:]
  assert values.min() > 0.8 * values.mean()


def test_impossible_facts():
  with pytest.raises(ValueError, match='keys=3'):
    facts.Source(keys=3, told=4, asked=2)
  with pytest.raises(ValueError, match='told=4'):
    facts.Source(told=4, asked=5)
  with pytest.raises(ValueError, match='has its title'):
    facts.Source(titles=2, passages=2)


@pytest.mark.parametrize('reads', [True, False])
def test_figures_are_those_of_numpy(batch, reads):
  rng = np.random.default_rng(0)
  shape = batch['tokens'].shape
  nats, gates = rng.uniform(0, 2, shape), rng.uniform(0, 1, shape)
  objective = retrieved.Objective() if reads else causal.Objective()
  task = types.SimpleNamespace(source=SOURCE, objective=objective)
  answer = (jnp.asarray(nats), jnp.asarray(gates) if reads else None)
  bench = types.SimpleNamespace(
    task=lambda: task, call=lambda function, batch: (answer, {})
  )
  found = facts.Evaluator().run(bench)
  answers, known = batch['weights'] > 0, batch['known']
  guess = np.log(4)
  assert found['loss'] == pytest.approx(nats[answers].mean())
  assert found['alone'] == pytest.approx(guess)
  share = known[answers].mean()
  assert found['best'] == pytest.approx((1 - share) * guess)
  assert found['known'] == pytest.approx(nats[known].mean())
  assert found['unknown'] == pytest.approx(nats[answers & ~known].mean())
  floor = found['best'] if reads else guess
  assert found['above'] == pytest.approx(found['loss'] - floor)
  assert 0 < found['above_error'] < 0.1
  assert ('let_in' in found) == reads
  if reads:
    own = answers & batch['related'][:, None]
    assert found['let_in'] == pytest.approx(1 - gates[own].mean(), abs=1e-6)
    none = answers & ~batch['related'][:, None]
    assert found['let_in_irrelevant'] == pytest.approx(
      1 - gates[none].mean(), abs=1e-6
    )


class Model:
  """Hidden states are of tokens alone, and fewer than the vocabulary."""

  def __init__(self):
    keys = jax.random.split(jax.random.key(0))
    self.table = jax.random.normal(keys[0], (9, 3))
    self.head = jax.random.normal(keys[1], (3, 9))

  def __call__(self, tokens, segment_ids, positions, rows=None):
    return self.table[tokens]

  def logits(self, hidden):
    return hidden @ self.head


@pytest.mark.parametrize('objective', [causal, retrieved])
def test_the_function_asks_for_targets(objective):
  # Passages are in front, and not asked for.
  model, own, one = Model(), jnp.array([[1, 5]]), jnp.ones((1, 2), jnp.int32)
  batch = {
    'tokens': own,
    'segment_ids': one,
    'positions': jnp.array([[0, 1]]),
    'targets': jnp.array([[7, 2]]),
    'passages': jnp.array([[[3, 4]]]),
    'passage_ids': one[:, None],
  }
  found, gates = facts._judged(objective.Objective())(model, batch)
  logits = np.asarray(model.table @ model.head, np.float64)
  logps = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  np.testing.assert_allclose(-found[0], [logps[1, 7], logps[5, 2]], rtol=1e-5)
  assert gates is None
