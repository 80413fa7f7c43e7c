"""Hard-wired heads for n-grams, beside a loop over what was read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.experiments import ngram_heads

TOKENS = np.random.default_rng(0).integers(0, 3, (4, 20))


def matches(row, place, count):
  """Returns the places up to `place` that stand behind its last tokens."""
  last = row[place + 1 - count : place + 1].tolist()
  return [
    j for j in range(count, place + 1) if row[j - count : j].tolist() == last
  ]


@pytest.mark.parametrize('count', [1, 2, 3])
def test_heads_see_what_followed_the_same_tokens(count):
  want = np.zeros((4, 20, 20))
  for row, said in zip(TOKENS, want):
    for place in range(count - 1, 20):
      seen = matches(row, place, count)
      said[place, seen] = 1 / max(len(seen), 1)
  assert 0 < (want.sum(-1) == 0).mean() < 1
  found = ngram_heads.followed(jnp.asarray(TOKENS), count)
  np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.parametrize('read', ['lstm', 'convolution'])
def test_a_model_sees_the_past_alone_and_its_heads(read):
  model = ngram_heads.Model(
    read=read, vocab_size=3, hidden_size=8, num_layers=1, init_stddev=1.0
  )
  one = jnp.asarray(TOKENS[:1])
  params = jax.jit(model.init)(jax.random.key(0), one)['params']
  hidden = jax.jit(lambda p, x: model.apply({'params': p}, x))
  out = np.asarray(hidden(params, one))
  for place in (9, 19):
    other = one.at[0, place].add(1) % 3
    same = np.isclose(out, hidden(params, other), atol=1e-5).all(-1)[0]
    assert same[:place].all() and not same[place]
  # The maps are of what `followed` attends to: without them there is less.
  for name in ('after_1', 'after_2'):
    none = jax.tree.map(jnp.zeros_like, params['ngrams'][name])
    less = params | {'ngrams': params['ngrams'] | {name: none}}
    assert not np.allclose(out, hidden(less, one), atol=1e-3)


def test_the_map_of_a_head_by_numpy():
  options = ngram_heads.Options(hidden_size=8, counts=(2,), init_stddev=1.0)
  heads = ngram_heads.Heads(options)
  x = jax.random.normal(jax.random.key(1), (4, 20, 8))
  params = heads.init(jax.random.key(0), x, jnp.asarray(TOKENS))['params']
  centred = np.asarray(x, np.float64)
  centred -= centred.mean(-1, keepdims=True)
  y = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
  want = np.asarray(x, np.float64)
  for b, row in enumerate(TOKENS):
    for place in range(1, 20):
      seen = matches(row, place, 2)
      if seen:
        kernel = np.asarray(params['after_2']['kernel'], np.float64)
        want[b, place] += y[b, seen].mean(0) @ kernel
  found = heads.apply({'params': params}, x, jnp.asarray(TOKENS))
  np.testing.assert_allclose(found, want, atol=1e-4)


def test_scanned_blocks_are_refused():
  with pytest.raises(ValueError, match='scan_layers'):
    ngram_heads.Model(scan_layers=True, kernel_sizes=(3,))
