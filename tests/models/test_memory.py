"""What layers look up of earlier text: numpy, and how far back they see."""

import jax
import numpy as np
import pytest

from ctxlm.models import cache, memory, states
from ctxlm.models.variables import make_apply
from tests.models.test_layers import softmax

SHAPE = dict(vocab_size=11, hidden_size=8, num_layers=1, num_heads=2)


def test_nearest_keys_equal_numpy():
  """g softmax of the nearest keys + (1 - g) o, a head each."""
  rng = np.random.default_rng(0)
  q = rng.normal(size=(2, 3, 2, 4))
  k, v = rng.normal(size=(2, 2, 5, 1, 4))
  out, gate = rng.normal(size=q.shape), np.array([0.3, -1.0])
  seen = np.ones((2, 3, 5), bool)
  seen[0, :, 1], seen[1] = False, False
  want = out.copy()
  for i, h in np.ndindex(3, 2):
    scores = q[0, i, h] @ k[0, :, 0].T / 2
    scores[1] = -np.inf
    top = np.argsort(-scores)[:2]
    found = softmax(scores[top]) @ v[0, top, 0]
    g = 1 / (1 + np.exp(-gate[h]))
    want[0, i, h] = g * found + (1 - g) * out[0, i, h]
  look = jax.jit(memory.mix_nearest, static_argnums=6)
  found = look(q, k, v, seen, gate, out, 2)
  np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize(
  'options, reach', [({}, 3), ({'nearest': 2, 'nearest_memory': 5}, 5)]
)
def test_how_far_a_row_sees_back(options, reach):
  model = memory.Model(**SHAPE, memory_length=3, **options)
  apply = make_apply(model)
  tokens = np.random.default_rng(1).integers(0, 11, (8, 10))
  tokens[:] = tokens[0]
  for i in range(7):  # row i has another token i
    tokens[i, i] = (tokens[i, i] + 1) % 11

  @jax.jit
  def run(key):
    params = model.init(key, tokens[:, :2])['params']
    params = jax.tree.map(lambda x: 4 * x, params)
    kept = states.empty(apply, params, 8)
    for piece in (tokens[:, :7], tokens[:, 7:]):
      out, kept = apply(
        params,
        lambda m, piece=piece: m(piece, places=cache.Places(1)),
        mutable=['cache'],
        cache=kept,
      )
      kept = kept['cache']
    return out

  out = np.asarray(run(jax.random.key(0)))
  differs = np.abs(out[:7] - out[7]).max((1, 2)) > 0
  if options:  # the nearest of those that are in reach, whichever they are
    assert not differs[: 7 - reach].any() and differs[4:].all()
  else:
    assert differs.tolist() == [i >= 7 - reach for i in range(7)]


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'position': 'learned'}, "position='rotary'"),
    ({'nearest': 1, 'nearest_layers': (4,)}, 'nearest_layers has 4'),
    ({'scan_layers': True}, 'takes no window'),
  ],
)
def test_what_keeps_nothing_is_said(options, wanted):
  with pytest.raises(ValueError, match=wanted):
    memory.Model(**(SHAPE | options))
