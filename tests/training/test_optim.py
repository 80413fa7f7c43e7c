"""Schedules by formula, updates against torch, factors by pattern."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from ctxlm import config, trees
from ctxlm.errors import UserError
from ctxlm.training import optim


def block(**more):
  c = config.base().optimizer
  c.update(schedule='constant', warmup_steps=0, clip_norm=0.0, **more)
  return c


@pytest.mark.parametrize('warmup', [0, 10])
@pytest.mark.parametrize('name', ['cosine', 'linear', 'rsqrt', 'constant'])
def test_schedules_equal_formulas(name, warmup):
  c = block(learning_rate=2.0, final_fraction=0.1)
  c.update(schedule=name, warmup_steps=warmup)
  rate = optim.schedule(c, 110)
  for n in (0, 3, 9, 10, 11, 60, 109, 110):
    t = (n - warmup) / (110 - warmup)
    after = max(n - warmup, 0)
    want = {
      'cosine': 0.2 + 1.8 * (1 + np.cos(np.pi * t)) / 2,
      'linear': 2 - 1.8 * t,
      'rsqrt': 2 * (max(warmup, 1) / (after + max(warmup, 1))) ** 0.5,
      'constant': 2.0,
    }[name]
    want = 2 * (n + 1) / warmup if n < warmup else want
    assert float(rate(n)) == pytest.approx(want, rel=1e-5), n


def params():
  rng = np.random.default_rng(0)
  return {
    'mlp': {
      'kernel': rng.normal(size=(6, 4)).astype(np.float32),
      'bias': rng.normal(size=4).astype(np.float32),
    },
    'norm': {'scale': rng.normal(size=4).astype(np.float32)},
    'token_embed': {'embedding': rng.normal(size=(9, 4)).astype(np.float32)},
  }


def flat(tree):
  return {name: np.asarray(x) for name, x in trees.flatten(tree).items()}


def gradients(steps=6):
  rng = np.random.default_rng(1)
  return [
    jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), params())
    for _ in range(steps)
  ]


def updated(c):
  p = params()
  tx = optim.make(c, 10, p)
  state = tx.init(p)
  for g in gradients():
    updates, state = tx.update(g, state, p)
    p = optax.apply_updates(p, updates)
  return flat(p)


def by_torch(make, decay):
  tensors = {
    k: torch.tensor(v, requires_grad=True) for k, v in flat(params()).items()
  }
  plain = ('mlp/bias', 'norm/scale')  # not decayed
  groups = [
    {
      'params': [t for k, t in tensors.items() if (k in plain) == kind],
      'weight_decay': 0.0 if kind else decay,
    }
    for kind in (False, True)
  ]
  update = make(groups)
  for g in gradients():
    for k, v in flat(g).items():
      tensors[k].grad = torch.tensor(v)
    update.step()
  return {k: t.detach().numpy() for k, t in tensors.items()}


CASES = {
  'adamw': (
    dict(name='adamw', learning_rate=0.01, b2=0.95, weight_decay=0.3),
    lambda g: torch.optim.AdamW(g, lr=0.01, betas=(0.9, 0.95)),
  ),
  'sgd': (
    dict(name='sgd', learning_rate=0.01, momentum=0.9, weight_decay=0.3),
    lambda g: torch.optim.SGD(g, lr=0.01, momentum=0.9),
  ),
}


@pytest.mark.parametrize('name', CASES)
def test_updates_equal_torch(name):
  options, make = CASES[name]
  want = by_torch(make, 0.3)
  for key, value in updated(block(**options)).items():
    np.testing.assert_allclose(value, want[key], atol=1e-5, err_msg=key)


def test_lion_equals_formula():
  c = block(name='lion', learning_rate=0.01, b1=0.9, b2=0.99, weight_decay=0.3)
  found = updated(c)
  for key, p in flat(params()).items():
    m, decay = np.zeros_like(p), 0.0 if key.endswith(('bias', 'scale')) else 0.3
    for g in gradients():
      g = flat(g)[key]
      p = p - 0.01 * (np.sign(0.9 * m + 0.1 * g) + decay * p)
      m = 0.99 * m + 0.01 * g
    np.testing.assert_allclose(found[key], p, atol=1e-5, err_msg=key)


def stretched(rng, rows, columns, count=1):
  """Returns matrices [count, rows, columns] of singular values 0.2 to 1."""
  x = rng.normal(size=(count, rows, columns))
  u, _, v = np.linalg.svd(x, full_matrices=False)
  values = np.linspace(0.2, 1, u.shape[-1])
  return ((u * values) @ v).astype(np.float32)


def test_muon_makes_hidden_matrices_orthogonal():
  rng = np.random.default_rng(0)
  hidden = {  # path: shape, rows and columns
    'layers_0/attention/query/kernel': ((8, 2, 4), 8, 8),
    'layers_0/attention/out/kernel': ((2, 4, 8), 8, 8),
    'layers_0/mlp/up/kernel': ((8, 16), 8, 16),
    'layers/mlp/down/kernel': ((3, 16, 8), 16, 8),  # three layers, stacked
    'layers/attention/key/kernel': ((2, 8, 2, 4), 8, 8),
    'heads/mlm/dense/kernel': ((8, 8), 8, 8),
  }
  p = {
    name: stretched(rng, r, c, np.prod(shape) // (r * c)).reshape(shape)
    for name, (shape, r, c) in hidden.items()
  }
  others = (
    'inputs/token_embed/embedding',
    'lm_head/kernel',
    'heads/next_sentence/kernel',
  )
  p |= {name: stretched(rng, 9, 8)[0] for name in others}
  c = block(name='muon', learning_rate=1.0, weight_decay=0.0)
  tx = optim.make(c, 10, p)
  updates, _ = tx.update(p, tx.init(p), p)
  for name, (_, r, c) in hidden.items():
    x = np.reshape(updates[name], (-1, r, c))
    values = np.linalg.svd(x)[1]
    assert (values.min(-1) > 0.6 * values.max(-1)).all(), name
  for name in others:
    # AdamW's first step is the sign of the gradient, here with Nesterov's
    # momentum: 0.9 * 0.1 / (1 - 0.9^2) + 1.
    want = -np.sign(p[name]) * (0.09 / 0.19 + 1)
    np.testing.assert_allclose(updates[name], want, atol=1e-3)


@pytest.mark.parametrize('name', ['adamw', 'adafactor', 'lion', 'muon', 'sgd'])
def test_every_optimizer_descends(name):
  p = {'a': {'kernel': jnp.asarray(params()['mlp']['kernel'])}}
  tx = optim.make(block(name=name, learning_rate=0.03, weight_decay=0.0), 10, p)
  state = tx.init(p)

  def loss(p):
    return (p['a']['kernel'] ** 2).sum()

  start = loss(p)
  for _ in range(20):
    updates, state = tx.update(jax.grad(loss)(p), state, p)
    p = optax.apply_updates(p, updates)
  assert loss(p) < 0.8 * start


def test_clipping_is_of_the_whole_gradient():
  c = block(name='sgd', learning_rate=1.0, weight_decay=0.0)
  c.clip_norm = 0.5
  g, p = gradients(1)[0], params()
  tx = optim.make(c, 10, p)
  updates = flat(tx.update(g, tx.init(p), p)[0])
  norm = np.sqrt(sum((x**2).sum() for x in flat(g).values()))
  for key, x in flat(g).items():
    np.testing.assert_allclose(updates[key], -x * 0.5 / norm, rtol=1e-5)


def test_factors_scale_and_freeze():
  options = dict(name='adamw', learning_rate=0.01, weight_decay=0.3)
  want, start = updated(block(**options)), flat(params())
  found = updated(
    block(**options, factors=((r'mlp/k', 0.5), (r'^norm|bias', 0)))
  )
  first = 'token_embed/embedding'
  np.testing.assert_array_equal(found[first], want[first])
  for name in ('norm/scale', 'mlp/bias'):
    np.testing.assert_array_equal(found[name], start[name])
  moved = (found['mlp/kernel'] - start['mlp/kernel']) / (
    want['mlp/kernel'] - start['mlp/kernel']
  )
  assert 0.45 < np.median(moved) < 0.55
  with pytest.raises(UserError, match="'mpl' meets no parameter"):
    optim.make(block(factors=(('mpl', 0.1),)), 10, params())


def test_frozen_parameters_do_not_count_in_the_clipped_norm():
  c = block(
    name='sgd',
    learning_rate=1.0,
    weight_decay=0.0,
    factors=(('mlp|token', 0.0),),
  )
  c.clip_norm = 1e-3
  tx, kept = optim.make(c, 10, params()), optim.frozen(c, params())
  g, p = (trees.split(x, kept)[0] for x in (gradients(1)[0], params()))
  updates = flat(tx.update(g, tx.init(p), p)[0])
  assert updates.keys() == {'norm/scale'}
  assert np.linalg.norm(updates['norm/scale']) == pytest.approx(1e-3, rel=1e-4)


def test_no_norm_no_bias_and_no_vector_decays():
  shapes = {
    'stack': {
      'layers_0': {'mixer': {'recurrent': (4, 8), 'recurrent_bias': (4,)}},
      'layers': {  # stacked
        'query': {'kernel': (3, 4, 2, 2), 'bias': (3, 2, 2)},
        'norm': {'scale': (3, 4)},
        'gate': (3, 2),
        'up': {'kernel': (3, 4, 8)},
      },
    },
    'layer_mix': {'weights': (4,)},
    'output_bias': (9,),
    'token_embed': {'embedding': (9, 4)},
  }
  tree = jax.tree.map(np.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))
  found = trees.flatten(optim.decayed(tree))
  assert {name for name, own in found.items() if own} == {
    'stack/layers_0/mixer/recurrent',
    'stack/layers/query/kernel',
    'stack/layers/up/kernel',
    'token_embed/embedding',
  }


@pytest.mark.parametrize('name', ['adamw', 'adafactor', 'lion', 'muon', 'sgd'])
def test_decay_is_times_the_rate(name):
  """With no gradient a weight shrinks by 1 - rate * decay a step, in all."""
  c = config.base().optimizer
  c.update(name=name, learning_rate=1e-3, weight_decay=0.01)
  p = jax.tree.map(jnp.ones_like, params())
  none = jax.tree.map(jnp.zeros_like, p)
  tx = optim.make(c, 1000, p)

  def step(_, carry):
    p, state = carry
    updates, state = tx.update(none, state, p)
    return optax.apply_updates(p, updates), state

  p, _ = jax.lax.fori_loop(0, 1000, step, (p, tx.init(p)))
  n = np.arange(1000)
  rates = 1e-3 * np.where(
    n < 100, (n + 1) / 100, (1 + np.cos(np.pi * (n - 100) / 900)) / 2
  )
  want = np.prod(1 - 0.01 * rates)
  assert want == pytest.approx(0.995003, abs=1e-6)
  for key, value in flat(p).items():
    still = key.endswith(('bias', 'scale'))
    np.testing.assert_allclose(
      value, 1.0 if still else want, rtol=2e-5, err_msg=key
    )


def test_adafactor_equals_formula():
  """Shazeer & Stern 2018, algorithms 4 and 5; small tensors aren't factored."""
  c = block(name='adafactor', learning_rate=0.01, weight_decay=0.3)
  found = updated(c)
  for key, p in flat(params()).items():
    v, decay = 0.0, 0.0 if key.endswith(('bias', 'scale')) else 0.3
    for t, g in enumerate(gradients(), 1):
      g = flat(g)[key]
      b2 = 1 - t**-0.8
      v = b2 * v + (1 - b2) * (g**2 + 1e-30)
      u = g / np.sqrt(v)
      u /= max(1.0, np.sqrt((u**2).mean()))
      scale = max(1e-3, np.sqrt((p**2).mean()))
      p = p - 0.01 * (scale * u + decay * p)
    np.testing.assert_allclose(found[key], p, atol=1e-5, err_msg=key)


STACK = (
  'inputs/token_embed/embedding',
  'stack/layers_0/mlp/up/kernel',
  'stack/layers_1/mlp/up/kernel',
  'stack/final_norm/scale',
  'heads/mlm/dense/kernel',
)


def test_a_layer_s_rate_decays_with_its_depth():
  c = block(name='sgd', learning_rate=1.0, weight_decay=0.0, layer_decay=0.5)
  p = trees.nest({name: np.ones((2, 3), np.float32) for name in STACK})
  tx = optim.make(c, 10, p)
  updates = flat(tx.update(p, tx.init(p), p)[0])
  found = [-updates[name][0, 0] for name in STACK]
  assert found == [0.125, 0.25, 0.5, 1.0, 1.0]
  # Stacked layers, and a decoder of another depth, which counts by itself.
  scanned = {
    'encoder/layers/mlp/up/kernel': np.ones((3, 2, 3), np.float32),
    'decoder/layers_0/mlp/up/kernel': np.ones((2, 3), np.float32),
    'decoder_inputs/position_embed/embedding': np.ones((2, 3), np.float32),
  }
  tx = optim.make(c, 10, scanned)
  updates = flat(tx.update(scanned, tx.init(scanned), scanned)[0])
  first, second, third = (updates[name] for name in scanned)
  np.testing.assert_array_equal(-first[:, 0, 0], [0.125, 0.25, 0.5])
  assert (-second[0, 0], -third[0, 0]) == (0.5, 0.0625)
  with pytest.raises(UserError, match='layer_decay needs layers, and no'):
    optim.make(c, 10, params())


def test_layers_are_trained_one_more_at_a_time():
  """Each from its own first step on, with the rate of the whole's step."""
  c = block(name='adamw', learning_rate=0.01, weight_decay=0.1)
  c.update(unfreeze_every=2, schedule='linear')
  p = trees.nest({name: np.ones((2, 3), np.float32) for name in STACK})
  tx = optim.make(c, 10, p)
  state, rate = tx.init(p), optim.schedule(c, 10)
  for step in range(8):
    updates, state = tx.update(p, state, p)
    for name, begins in zip(STACK, (6, 4, 2, 0, 0), strict=True):
      # The same gradient at every step: AdamW's step is its sign, and decay.
      decay = 0.0 if name.endswith('scale') else 0.1
      want = -(1 + decay) * rate(step) if step >= begins else 0.0
      found = flat(updates)[name]
      np.testing.assert_allclose(found, np.full((2, 3), want), rtol=1e-4)
  # What is frozen doesn't count in the clipped norm.
  c.update(name='sgd', schedule='constant', learning_rate=1.0, clip_norm=1e-3)
  c.weight_decay = 0.0
  tx = optim.make(c, 10, p)
  updates = flat(tx.update(p, tx.init(p), p)[0]).values()
  assert np.linalg.norm(list(updates)) == pytest.approx(1e-3, rel=1e-4)
  scanned = {'stack/layers/mlp/up/kernel': np.ones((3, 2, 3), np.float32)}
  with pytest.raises(UserError, match='scan_layers=False'):
    optim.make(c, 10, scanned)
