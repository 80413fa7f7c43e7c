"""Draws agree with the exact distribution that the filters leave."""

import numpy as np
import pytest

from ctxlm.decoding.processors import min_p, temperature, top_k, top_p, typical
from ctxlm.decoding.rules import Rules
from ctxlm.decoding.strategies import greedy, sample
from tests.decoding import toys

V, DRAWS = 50, 200_000
LOGITS = np.random.default_rng(0).normal(0, 1.5, V).astype(np.float32)


def softmax(x):
  e = np.exp(x - x.max())
  return e / e.sum()


def without(p, kept):
  return np.where(kept, p, 0) / p[kept].sum()


def numpy_temperature(p, t):
  return softmax(np.log(np.maximum(p, 1e-300)) / t)


def numpy_top_k(p, k):
  return without(p, p >= np.sort(p)[-k])


def numpy_top_p(p, mass):
  order = np.argsort(-p)
  count = np.searchsorted(np.cumsum(p[order]), mass) + 1
  return without(p, np.isin(np.arange(V), order[:count]))


def numpy_min_p(p, share):
  return without(p, p >= share * p.max())


def numpy_typical(p, mass):
  logp = np.log(np.where(p > 0, p, 1))
  entropy = -(p * logp).sum()
  far = np.where(p > 0, np.abs(-logp - entropy), np.inf)
  order = np.argsort(far)
  count = np.searchsorted(np.cumsum(p[order]), mass) + 1
  return without(p, np.isin(np.arange(V), order[:count]))


FILTERS = {
  'temperature': (temperature, numpy_temperature, 0.7),
  'top_k': (top_k, numpy_top_k, 12),
  'top_p': (top_p, numpy_top_p, 0.8),
  'min_p': (min_p, numpy_min_p, 0.1),
  'typical': (typical, numpy_typical, 0.7),
}
CASES = [(), *((name,) for name in FILTERS), tuple(FILTERS)]


@pytest.mark.slow
@pytest.mark.parametrize('names', CASES, ids=lambda n: '+'.join(n) or 'none')
def test_200_000_draws(names, optimized):
  p = softmax(LOGITS.astype(np.float64))
  processors = []
  for name in names:
    module, exact, value = FILTERS[name]
    processors.append(module.Processor(value))
    p = exact(p, value)
  if names:
    assert names == ('temperature',) or (p == 0).any()
  found = toys.write(
    sample.Strategy(),
    toys.markov(np.tile(LOGITS, (V, 1))),
    np.zeros((DRAWS // 4, 1)),
    new=4,
    rules=Rules(tuple(processors)),
  )
  counts = np.bincount(found['tokens'].ravel(), minlength=V)
  assert counts.sum() == DRAWS
  assert toys.chi_square(counts, DRAWS * p) > 1e-3


def test_steps_and_samples_are_independent():
  found = toys.write(
    sample.Strategy(),
    toys.markov(np.zeros((4, 4), np.float32)),
    np.zeros((20_000, 1)),
    new=3,
  )['tokens']
  cells = found[:, 0] * 16 + found[:, 1] * 4 + found[:, 2]
  counts = np.bincount(cells, minlength=64)
  assert toys.chi_square(counts, np.full(64, len(found) / 64)) > 1e-3
  rows = found[:-1, 0] * 4 + found[1:, 0]
  counts = np.bincount(rows, minlength=16)
  assert toys.chi_square(counts, np.full(16, len(rows) / 16)) > 1e-3


def test_a_sample_depends_on_its_number_and_the_seed_only():
  step = toys.markov(np.random.default_rng(1).normal(size=(V, V)))

  def tokens(index, seed=0):
    return toys.write(
      sample.Strategy(),
      step,
      np.zeros((len(index), 1)),
      new=6,
      index=np.array(index),
      seed=seed,
    )['tokens']

  whole = tokens(range(8))
  np.testing.assert_array_equal(tokens([5, 2]), whole[[5, 2]])
  assert (tokens(range(8), seed=1) != whole).any()


def test_greedy_takes_the_first_of_the_best():
  table = np.array([[0, 2, 2, 1], [3, 0, 0, 3], [0, 0, 0, 0], [9, 0, 0, 0]])
  found = toys.write(
    greedy.Strategy(),
    toys.markov(table.astype(np.float32)),
    [[0], [1], [2], [3]],
    new=3,
  )['tokens']
  assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_rows_stop_by_themselves_and_are_padded():
  table = np.full((6, 6), -9.0, np.float32)
  table[[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]] = 9
  found = toys.write(
    greedy.Strategy(),
    toys.markov(table),
    [[0], [2], [3]],
    new=4,
    rules=Rules(eos_ids=(4,), pad_id=5, show_probs=True),
  )
  assert found['tokens'].tolist() == [
    [1, 2, 3, 4],
    [3, 4, 5, 5],
    [4, 5, 5, 5],
  ]
  assert found['lengths'].tolist() == [4, 2, 1]
  exact = 18 - np.log(np.exp(18.0) + 5)
  np.testing.assert_allclose(found['logps'][0], exact, atol=1e-6)
  assert found['logps'][1, 2] == 0
