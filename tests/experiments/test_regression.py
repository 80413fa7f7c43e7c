"""Prompts of regression in context, and the model that reads them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.experiments import regression


def batch(step=None, count=500, **options):
  source = regression.Source(**options)
  keys = jax.random.split(jax.random.key(0), count)
  example = functools.partial(source.example, step=step)
  return source, jax.device_get(jax.jit(jax.vmap(example))(keys))


def slopes(prompts):
  return np.stack(
    [
      np.linalg.lstsq(x, y, rcond=None)[0]
      for x, y in zip(prompts['xs'], prompts['ys'])
    ]
  )


def test_prompts_are_linear():
  _, prompts = batch(dim=3, points=7)
  w = slopes(prompts)
  np.testing.assert_allclose(
    np.einsum('bkd,bd->bk', prompts['xs'], w), prompts['ys'], atol=1e-4
  )
  np.testing.assert_allclose(np.cov(w.T), np.eye(3), atol=0.3)


def test_sparse_prompts():
  _, prompts = batch(dim=6, points=13, sparsity=2)
  w = slopes(prompts)
  assert ((abs(w) > 1e-4).sum(1) == 2).all()
  assert (w**2).sum(1).mean() == pytest.approx(6, rel=0.25)
  used = (abs(w) > 1e-4).mean(0)  # every dimension alike
  assert used.min() > 0.2 and used.max() < 0.5


def test_noise_and_nested_pools():
  source, prompts = batch(dim=3, points=30, tasks=4, noise=0.5)
  w = slopes(prompts)
  near = abs(w[:, None] - source.pool()[None]).sum(-1)
  assert near.min(1).max() < 1.5  # each prompt's slope is one of the pool's
  assert set(near.argmin(1)) == {0, 1, 2, 3}
  best = source.pool()[near.argmin(1)]
  noise = prompts['ys'] - np.einsum('bkd,bd->bk', prompts['xs'], best)
  assert noise.std() == pytest.approx(0.5, rel=0.05)
  larger = dataclasses.replace(source, tasks=9).pool()
  np.testing.assert_array_equal(larger[:4], source.pool())


def test_curriculum_grows_to_the_whole():
  for step, dims, pairs in ((0, 1, 3), (50, 3, 6), (100, 4, 9), (None, 4, 9)):
    now = None if step is None else jnp.int32(step)
    _, prompts = batch(step=now, dim=4, points=9, curriculum_steps=100, count=3)
    assert ((abs(prompts['xs']) > 0).any((0, 1)).sum()) == dims
    assert (prompts['weights'].sum(1) == pairs).all()


def test_model_sees_no_y_before_it_is_given():
  model = regression.Model(
    vocab_size=1, hidden_size=16, num_layers=1, num_heads=2, max_length=10
  )
  _, prompts = batch(dim=3, points=5, count=1)
  xs, ys = jnp.asarray(prompts['xs']), jnp.asarray(prompts['ys'])
  variables = model.init(jax.random.key(0), xs, ys)
  by_y = jax.jit(jax.jacrev(lambda ys: model.apply(variables, xs, ys)[0]))(ys)
  by_y = abs(by_y[:, 0])  # [prediction, y]
  assert (np.triu(by_y) == 0).all()
  assert (by_y[np.tril_indices(5, -1)] > 0).all()
  by_x = jax.jit(jax.jacrev(lambda xs: model.apply(variables, xs, ys)[0]))(xs)
  by_x = abs(by_x[:, 0]).sum(-1)
  assert (np.triu(by_x, 1) == 0).all() and (np.diag(by_x) > 0).all()
