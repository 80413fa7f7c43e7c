import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.experiments import mixtures

LENGTH = 37  # words that are judged


@pytest.fixture
def stream():
  """(states [t, m], words [t], log p [t])."""
  rng = np.random.default_rng(0)
  states = rng.normal(size=(LENGTH, 4)).astype(np.float32)
  words = rng.integers(0, 6, LENGTH).astype(np.int32)
  return states, words, np.log(rng.uniform(0.1, 0.5, LENGTH))


@pytest.mark.parametrize('theta, window', [(0.7, 5), (0.0, 100)])
def test_cache_is_a_loop_in_numpy(stream, theta, window, monkeypatch):
  monkeypatch.setattr(mixtures, 'QUERIES', 8)  # in several blocks
  states, words, own = stream
  want = own.copy()
  for t in range(1, LENGTH):
    before = np.arange(max(0, t - window), t)
    votes = np.exp(theta * states[before] @ states[t])
    p = votes[words[before] == words[t]].sum() / votes.sum()
    want[t] = np.log(max(p, np.finfo(np.float32).tiny))
  jax.clear_caches()
  found = mixtures._cached(
    states, words, jnp.asarray(own, jnp.float32), theta, window
  )
  np.testing.assert_allclose(found, want, rtol=1e-4)


@pytest.mark.parametrize('length', [3, 9, 16, 17, 40])
def test_every_word_is_read_once_behind_half_a_window(length):
  # States are the words, and log p how many stand before one, and itself.
  def call(function, tokens, targets):
    assert function is mixtures._said and tokens.shape == (3, 8)
    before = np.broadcast_to(np.arange(1, 9), tokens.shape)
    assert (tokens[:, 1:] == targets[:, :-1])[tokens[:, 1:] < length - 1].all()
    return (before, tokens[..., None]), {}

  bench = types.SimpleNamespace(call=call)
  own = mixtures.Evaluator(window=8, rows=3)
  before, states = own._read(bench, np.arange(length + 1))
  np.testing.assert_array_equal(states[:, 0], np.arange(length))
  assert (before >= np.minimum(np.arange(length) + 1, 5)).all()


def test_weight_is_of_validation_and_gain_of_test():
  rng = np.random.default_rng(0)
  own = {s: np.log(rng.uniform(0.1, 0.3, 4000)) for s in ('validation', 'test')}
  better = {'validation': (0.0, 3.0), 'test': (0.5, 0.5)}

  def other(split, option):
    # Of every second word it knows the answer, where the option is good.
    p = np.exp(own[split]) * 0.1
    p[::2] = 0.1 + 0.3 * option * better[split][option]
    return np.log(np.minimum(p, 0.9))

  found = mixtures._best('x', other, (0, 1), own)
  assert found['x_option'] == 1 and 0.2 < found['x_share'] < 0.6
  mixed = np.logaddexp(
    np.log1p(-found['x_share']) + own['test'],
    np.log(found['x_share']) + other('test', 1),
  )
  gain = (mixed - own['test']).mean()
  assert found['x_gain'] == pytest.approx(gain)
  assert found['x'] == pytest.approx(np.exp(-mixed.mean()))
  assert found['x_low'] < gain


def test_neighbours_are_the_nearest(stream):
  keys, _, _ = stream
  distances, places = mixtures._nearest(keys, keys[:3] + 0.01)
  want = np.square(keys[None] - keys[:3, None] - 0.01).sum(-1)
  order = np.argsort(want, axis=1)
  np.testing.assert_array_equal(places[:, :5], order[:, :5])
  np.testing.assert_allclose(distances, np.sort(want, axis=1), atol=1e-4)
