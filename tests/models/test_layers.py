"""Layers against numpy by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from ctxlm.errors import UserError
from ctxlm.families import export, family
from ctxlm.models import layers
from ctxlm.models.transformer import Options


def randomised(tree, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape), tree)


def init(module, *args, **kwargs):
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *args, **kwargs)
  )
  return randomised(shapes['params'])


def softmax(scores):
  e = np.exp(scores - scores.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize('axes', [1, 2])
def test_a_product_is_of_rows_unless_they_are_apart(axes):
  """Values and gradients of lax.dot_general; flat but where b l is sharded."""
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(4, 5, 6, 7))
  if axes == 1:
    x, kernel = x[..., 0, :], kernel[0]
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  last = tuple(range(x.ndim - axes, x.ndim))
  numbers = (last, tuple(range(axes))), ((), ())

  def value(function, x, kernel):
    return (jnp.sin(function(x, kernel, numbers)) ** 2).sum()

  plain, flat = (
    jax.value_and_grad(lambda *args, f=f: value(f, *args), (0, 1))(x, kernel)
    for f in (jax.lax.dot_general, layers.product)
  )
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(flat), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4)

  def reshaped():
    made = jax.make_jaxpr(layers.product, static_argnums=2)(x, kernel, numbers)
    return 'reshape' in str(made)

  assert reshaped()
  kind = (jax.sharding.AxisType.Auto,)
  for name, whole in {'data': True, 'sequence': False}.items():
    with jax.set_mesh(jax.make_mesh((2,), (name,), axis_types=kind)):
      assert reshaped() == whole


@pytest.mark.parametrize('kv_heads', [0, 2])
def test_multi_head_attention_equals_numpy(kv_heads):
  """Concat(head_1 .. head_h) W^O, head_i = softmax(QK^T / sqrt(d)) V."""
  o = Options(
    vocab_size=9, hidden_size=12, num_heads=4, num_kv_heads=kv_heads, head_dim=5
  )
  module = layers.Attention(o, causal=True)
  x = np.random.default_rng(1).normal(size=(2, 7, 12))
  p = init(module, jnp.asarray(x))
  heads = []
  for i in range(4):
    g = i // (4 // (kv_heads or 4))
    q = x @ p['query']['kernel'][:, i] + p['query']['bias'][i]
    k = x @ p['key']['kernel'][:, g] + p['key']['bias'][g]
    v = x @ p['value']['kernel'][:, g] + p['value']['bias'][g]
    scores = q @ k.swapaxes(1, 2) / np.sqrt(5)
    scores[:, np.triu_indices(7, 1)[0], np.triu_indices(7, 1)[1]] = -np.inf
    heads.append(softmax(scores) @ v)
  want = np.concatenate(heads, -1) @ p['out']['kernel'].reshape(20, 12)
  want += p['out']['bias']
  found = module.apply({'params': p}, jnp.asarray(x))
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('gated', [False, True])
def test_mlp_equals_numpy(gated):
  o = Options(
    vocab_size=9, hidden_size=6, num_heads=2, gated=gated, activation='gelu'
  )
  module = layers.MLP(o)
  x = np.random.default_rng(1).normal(size=(2, 3, 6))
  p = init(module, jnp.asarray(x))

  def dense(x, name):
    return x @ p[name]['kernel'] + p[name]['bias']

  def gelu(x):
    return x * special.ndtr(x)

  up = dense(x, 'up')
  hidden = gelu(dense(x, 'gate')) * up if gated else gelu(up)
  found = module.apply({'params': p}, jnp.asarray(x))
  np.testing.assert_allclose(found, dense(hidden, 'down'), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('norm', ['pre', 'post'])
def test_mix_of_layers_equals_numpy(norm):
  """s * sum_l softmax(w)_l h_l (Peters et al. 2018), h_0 what goes in."""
  o = Options(
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    norm_position=norm,
    final_norm=norm == 'pre',
  )
  x = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)
  mixing = dataclasses.replace(o, layer_mix=True)
  p = init(layers.Stack(mixing, 2), x)

  def run(o, params, **more):
    stack = layers.Stack(o, 2)
    return jax.jit(lambda p: stack.apply({'params': p}, x, **more))(params)

  given = {k: v for k, v in p.items() if k != 'layer_mix'}
  _, sown = run(o, given, mutable=['intermediates'])
  blocks = sown['intermediates']
  h = np.stack([x, *(blocks[f'layers_{i}']['hidden'][0] for i in range(2))])
  if norm == 'pre':
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(
      h.var(-1, keepdims=True) + 1e-5
    )
    h = h * p['final_norm']['scale'] + p['final_norm']['bias']
  own = p['layer_mix']
  want = own['scale'] * np.tensordot(softmax(own['weights']), h, 1)
  found = run(mixing, p)
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
  scanned = dataclasses.replace(mixing, scan_layers=True)
  both = [given.pop(f'layers_{i}') for i in range(2)]
  whole = given | {
    'layers': jax.tree.map(lambda *x: np.stack(x), *both),
    'layer_mix': own,
  }
  again = run(scanned, whole)
  np.testing.assert_allclose(again, want, rtol=1e-4, atol=1e-4)


def test_a_mix_of_layers_is_what_the_reference_lacks():
  block = {'name': 'transformer', 'layer_mix': True}
  with pytest.raises(UserError, match='config.model.layer_mix=True, not False'):
    export.infer(family.complete(block))
