"""Mixers by their formulas; they see neither the future nor other segments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.models import convolution, recurrent

MODELS = [recurrent.Model, convolution.Model]


def brute(x, kernel, positions):
  out = np.zeros_like(x)
  for b, t in np.ndindex(x.shape[:2]):
    for j in range(min(len(kernel), positions[b, t] + 1)):
      out[b, t] += kernel[j] * x[b, t - j]
  return out


@pytest.mark.parametrize('size', [1, 3, 9])
def test_convolution_is_the_sum_over_lags(size):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 8, 4)).astype(np.float32)
  kernel = rng.standard_normal((size, 4)).astype(np.float32)
  whole = np.tile(np.arange(8), (2, 1))
  out = convolution.causal_convolution(x, kernel)
  np.testing.assert_allclose(out, brute(x, kernel, whole), atol=1e-5)
  cut = np.array([[0, 1, 2, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 0, 0]])
  out = convolution.causal_convolution(x, kernel, jnp.asarray(cut))
  np.testing.assert_allclose(out, brute(x, kernel, cut), atol=1e-5)


def test_base_conv_is_the_gate_times_the_convolution():
  options = convolution.Model(
    vocab_size=4, hidden_size=3, num_layers=2, max_length=6
  ).options
  x = np.random.default_rng(0).standard_normal((1, 6, 3)).astype(np.float32)
  for layer, size in enumerate((3, 6)):
    module = convolution.BaseConv(options, layer=layer)
    p = module.init(jax.random.key(1), x)['params']
    assert p['kernel'].shape == (size, 3)
    p = jax.tree.map(lambda a: a + 0.1, p)
    gate = x @ p['gate']['kernel'] + p['gate']['bias']
    line = brute(x, np.asarray(p['kernel']), np.arange(6)[None]) + p['bias']
    np.testing.assert_allclose(
      module.apply({'params': p}, x), gate * line, atol=1e-5
    )


def make(cls):
  model = cls(
    vocab_size=11, hidden_size=8, num_layers=2, max_length=10, init_stddev=0.3
  )
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 10)))
  variables = model.init(jax.random.key(0), tokens)
  return model, variables, tokens


@pytest.mark.parametrize('cls', MODELS)
def test_causal_by_gradient(cls):
  model, variables, tokens = make(cls)
  table = variables['params']['inputs']['token_embed']['embedding']
  one_hot = jax.nn.one_hot(tokens, 11)

  def hidden(one_hot):
    # The same network of soft tokens: the embedding is linear in them.
    def forward(model):
      x = one_hot @ table
      return model.stack(x, positions=jnp.arange(10)[None])

    # A norm's outputs sum to 0 whatever comes in, so they are weighted.
    return model.apply(variables, method=forward)[0] @ jnp.arange(8.0)

  jacobian = jax.jit(jax.jacrev(hidden))(one_hot)[:, 0]
  jacobian = abs(jacobian).sum(-1)  # [out, in]
  assert (np.triu(jacobian, 1) == 0).all()
  assert (np.tril(jacobian) > 0)[np.tril_indices(10)].all()


@pytest.mark.parametrize('cls', MODELS)
def test_segments_do_not_see_each_other(cls):
  model, variables, tokens = make(cls)
  segments = jnp.array([[1] * 4 + [2] * 6] * 2)
  positions = jnp.array([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]] * 2)
  out = model.apply(
    variables, tokens, segment_ids=segments, positions=positions
  )
  alone = model.apply(variables, tokens[:, 4:])
  np.testing.assert_allclose(out[:, 4:], alone, atol=1e-5)


@pytest.mark.parametrize('cls', MODELS)
def test_options(cls):
  assert cls(vocab_size=3).mlp_dim == -1
  with pytest.raises(ValueError, match='causal'):
    cls(vocab_size=3, causal=False)
  with_mlp = cls(vocab_size=3, hidden_size=8, num_layers=1, mlp_dim=16)
  variables = with_mlp.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
  block = variables['params']['stack']['layers_0']
  assert block['mlp']['up']['kernel'].shape == (8, 16)


def test_forget_gates_begin_open():
  model = recurrent.Model(
    vocab_size=3, hidden_size=16, num_layers=1, forget_bias=3.0
  )
  variables = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
  mixer = variables['params']['stack']['layers_0']['mixer']
  i, f, g, o = np.split(np.asarray(mixer['input']['bias']), 4)
  assert abs(f - 3).max() <= 0.25 and abs(f - 3).min() > 0  # 16 ** -0.5
  assert abs(np.concatenate([i, g, o])).max() <= 0.25
