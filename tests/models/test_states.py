"""What a model keeps of a text is all that it needs to read on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models import (
  cache,
  convolution,
  feed_forward,
  lstm,
  memory,
  ngram,
  recurrent,
  states,
)
from ctxlm.models.variables import make_apply

SHAPE = dict(vocab_size=11, hidden_size=8, num_layers=1)
MODELS = {
  'feed_forward': feed_forward.Model(11, order=4, direct=True),
  'lstm': lstm.Model(init_range=0.5, **SHAPE),
  'recurrent': recurrent.Model(mlp_dim=8, **SHAPE),
  # Its kernel reaches further back than a row of training does.
  'convolution': convolution.Model(kernel_sizes=(5,), max_length=4, **SHAPE),
  'memory': memory.Model(memory_length=9, num_heads=2, **SHAPE),
}


@pytest.mark.parametrize('name', MODELS)
def test_pieces_are_the_whole(name):
  model = MODELS[name]
  assert model.carries
  apply = make_apply(model)
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (3, 9)))
  segments = np.ones((3, 9), np.int32)
  segments[1, 4:] = 2

  def logits(model, tokens, segments=None, **given):
    used = jnp.ones_like(tokens) if segments is None else segments
    place = jnp.arange(tokens.shape[1])[None]
    return model.logits(
      model(tokens, segment_ids=used, positions=place, **given)
    )

  @jax.jit
  def run(key):
    params = model.init(key, tokens, method=logits)['params']
    params = jax.tree.map(lambda x: 2 * x, params)
    fresh = states.empty(apply, params, 3)
    kept, found = fresh, []
    for start, stop in ((0, 2), (2, 6), (6, 9)):
      if start == 2:  # the last row begins anew
        kept = states.restart(kept, fresh, jnp.array([1.0, 1.0, 0.0]))
      own = tokens[:, start:stop], segments[:, start:stop]
      out, kept = apply(
        params,
        lambda m, own=own: logits(m, *own, places=cache.Places(1)),
        mutable=['cache'],
        cache=kept,
      )
      kept = kept['cache']
      found.append(out)
    whole, *anew = (
      apply(params, lambda m, own=own: logits(m, own))
      for own in (tokens, tokens[2:, 2:], tokens[1:2, 4:])
    )
    return jnp.concatenate(found, 1), whole, anew

  found, whole, anew = run(jax.random.key(0))
  np.testing.assert_allclose(found[0], whole[0], atol=1e-5)
  np.testing.assert_allclose(found[1, :4], whole[1, :4], atol=1e-5)
  np.testing.assert_allclose(found[2:, 2:], anew[0], atol=1e-5)
  assert abs(found[2:, 2:] - whole[2:, 2:]).max() > 1e-3
  np.testing.assert_allclose(found[1:2, 4:], anew[1], atol=1e-5)
  assert abs(found[1, 4:] - whole[1, 4:]).max() > 1e-3


def test_models_that_see_no_more_than_a_row_carry_nothing():
  bounded = recurrent.Model(position='learned', **SHAPE)
  scanned = recurrent.Model(scan_layers=True, **SHAPE)
  far = convolution.Model(**SHAPE)
  for model in (bounded, scanned, far, ngram.Model(11)):
    assert not model.carries
