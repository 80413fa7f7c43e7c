"""The greatest few, by blocks, are those of a whole sort."""

import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.decoding import ranking
from ctxlm.decoding.processors import filters


@pytest.mark.parametrize('size', (40, 1000, 2053))
@pytest.mark.parametrize('count', (1, 3, 7))
def test_top(size, count):
  x = np.random.default_rng(size).normal(size=(4, size)).astype(np.float32)
  values, index = ranking.top(jnp.asarray(x), count)
  want = np.argsort(-x, axis=1)[:, :count]
  np.testing.assert_array_equal(index, want)
  np.testing.assert_array_equal(values, np.take_along_axis(x, want, 1))


def test_padding_is_never_taken():
  x = np.full((1, 1001), -np.inf, np.float32)  # 1001 fills no whole blocks
  x[0, [5, 1000]] = 1.0, 2.0
  values, index = ranking.top(jnp.asarray(x), 6)
  assert index[0, :2].tolist() == [1000, 5]
  assert np.isinf(values[0, 2:]).all() and (np.asarray(index) < 1001).all()
  assert len(set(index[0].tolist())) == 6


@pytest.mark.parametrize('sharpness', (0.01, 1.0, 9.0))
def test_mass_among_the_best_few_and_among_all(sharpness):
  # Nearly uniform distributions have less than the mass among the few.
  rng = np.random.default_rng(0)
  logits = sharpness * rng.normal(size=(3, 1500))
  p = np.exp(logits - logits.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  order = np.argsort(-logits, axis=1)
  sorted_p = np.take_along_axis(p, order, 1)
  before = sorted_p.cumsum(1) - sorted_p
  want = np.zeros(p.shape, bool)
  np.put_along_axis(want, order, before < 0.8, axis=1)
  few = want.sum(1).max() <= filters.CANDIDATES
  assert few == (sharpness == 9.0)
  found = filters.within_mass(
    jnp.asarray(logits, jnp.float32), jnp.asarray(p, jnp.float32), 0.8
  )
  np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize('count', (1, 50, 128, 200))
def test_best(count):
  x = np.random.default_rng(1).normal(size=(2, 1500)).astype(np.float32)
  found = np.asarray(filters.best(jnp.asarray(x), count))
  bar = np.sort(x, axis=1)[:, -count, None]
  np.testing.assert_array_equal(found, x >= bar)
