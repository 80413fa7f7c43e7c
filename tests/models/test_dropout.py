"""Dropout's statistics, and whose masks are whose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ctxlm.models import dropout as dropout_lib


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_dropout_keeps_its_share_in_every_row_and_place(rate):
  keys = jax.random.split(jax.random.key(0), 50)
  rows = jnp.arange(64)
  kept = np.stack(
    [
      dropout_lib.keep_mask(jax.random.key_data(k), rows, (64, 40), rate)
      for k in keys
    ]
  )  # [keys, rows, places]
  for axes in ((0, 1, 2), (0, 1), (0, 2)):
    counts = kept.sum(axes)
    n = kept.size // counts.size
    z = (counts - n * (1 - rate)) / np.sqrt(n * rate * (1 - rate))
    assert abs(z).max() < 4.5
  # Neighbours in rows, places and keys are independent: chi-square of the
  # two by two table.
  for axis in range(3):
    a, b = (np.take(kept, range(i, i + 8), axis) for i in (0, 1))
    table = [[(x & y).sum() for y in (b, ~b)] for x in (a, ~a)]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_a_row_drops_the_same_wherever_it_lies():
  key = jax.random.key_data(jax.random.key(0))
  whole = dropout_lib.keep_mask(key, jnp.arange(8), (8, 5, 6), 0.3)
  part = dropout_lib.keep_mask(key, jnp.array([5, 2]), (2, 5, 6), 0.3)
  np.testing.assert_array_equal(part, whole[np.array([5, 2])])
  block = dropout_lib.keep_mask(
    key, jnp.arange(8), (8, 2, 3), 0.3, first=(1, 2), whole=(5, 6)
  )
  np.testing.assert_array_equal(block, whole[:, 1:3, 2:5])


def test_dropout_scales_what_it_keeps():
  x = jnp.ones((4, 1000))
  module = dropout_lib.Dropout(0.25)
  rngs = {'dropout': jax.random.key(1)}
  out = np.asarray(module.apply({}, x, jnp.arange(4), rngs=rngs))
  assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
  assert 0.7 < (out > 0).mean() < 0.8
  np.testing.assert_array_equal(module.apply({}, x, None), x)
