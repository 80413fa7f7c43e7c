"""Rows of all devices, whichever of them has which."""

import jax
import numpy as np

from ctxlm.parallel import collectives


def test_rows_come_back_to_their_places():
  index = np.random.default_rng(0).permutation(8).reshape(4, 2)
  whole = np.arange(24.0).reshape(8, 3)

  def step(whole, index):
    own = collectives.own_rows(whole, index, 'i')
    return own, collectives.whole_rows(own, index, 'i')

  own, back = jax.pmap(
    step, 'i', in_axes=(None, 0), out_axes=(0, None), devices=jax.devices()[:4]
  )(whole, index)
  np.testing.assert_array_equal(own, whole[index])
  np.testing.assert_array_equal(back, whole)
