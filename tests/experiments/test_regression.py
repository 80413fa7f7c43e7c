"""Prompts of regression in context, and the two experiments on them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import icl_regression, regression, task_diversity
from tests.experiments import common


def test_smoke_icl(tmp_path):
  found = common.smoke('icl_regression', tmp_path / 'dir')
  for point in found['points'].values():
    last = point['last']
    assert last['eval/prompts/least_squares_4'] < 1e-9  # d = 4
    assert last['eval/prompts/error_4'] > 0
    assert last['eval/prompts/below_low'] <= last['eval/prompts/below_high']


def test_smoke_diversity(tmp_path):
  found = common.smoke('task_diversity', tmp_path / 'dir')
  for point in found['points'].values():
    last = point['last']
    assert 0 < last['eval/prompts/new_to_ridge'] < 10
    # dMMSE is the best there is on the tasks seen.
    assert (
      last['eval/prompts/seen_dmmse_error']
      < last['eval/prompts/new_dmmse_error']
    )


def batch(step=None, count=500, **options):
  source = regression.Source(**options)
  keys = jax.random.split(jax.random.key(0), count)
  example = functools.partial(source.example, step=step)
  return source, jax.device_get(jax.jit(jax.vmap(example))(keys))


def slopes(found):
  return np.stack(
    [
      np.linalg.lstsq(x, y, rcond=None)[0]
      for x, y in zip(found['xs'], found['ys'])
    ]
  )


def test_prompts_are_linear():
  _, found = batch(dim=3, points=7)
  w = slopes(found)
  np.testing.assert_allclose(
    np.einsum('bkd,bd->bk', found['xs'], w), found['ys'], atol=1e-4
  )
  np.testing.assert_allclose(np.cov(w.T), np.eye(3), atol=0.3)


def test_sparse_prompts():
  _, found = batch(dim=6, points=13, sparsity=2)
  w = slopes(found)
  assert ((abs(w) > 1e-4).sum(1) == 2).all()
  assert (w**2).sum(1).mean() == pytest.approx(6, rel=0.25)
  used = (abs(w) > 1e-4).mean(0)  # every dimension alike
  assert used.min() > 0.2 and used.max() < 0.5


def test_noise_and_nested_pools():
  source, found = batch(dim=3, points=30, tasks=4, noise=0.5)
  w = slopes(found)
  near = abs(w[:, None] - source.pool()[None]).sum(-1)
  assert near.min(1).max() < 1.5  # each prompt's slope is one of the pool's
  assert set(near.argmin(1)) == {0, 1, 2, 3}
  best = source.pool()[near.argmin(1)]
  noise = found['ys'] - np.einsum('bkd,bd->bk', found['xs'], best)
  assert noise.std() == pytest.approx(0.5, rel=0.05)
  larger = dataclasses.replace(source, tasks=9).pool()
  np.testing.assert_array_equal(larger[:4], source.pool())


def test_curriculum_grows_to_the_whole():
  for step, dims, pairs in ((0, 1, 3), (50, 3, 6), (100, 4, 9), (None, 4, 9)):
    now = None if step is None else jnp.int32(step)
    _, found = batch(step=now, dim=4, points=9, curriculum_steps=100, count=3)
    assert ((abs(found['xs']) > 0).any((0, 1)).sum()) == dims
    assert (found['weights'].sum(1) == pairs).all()


def test_model_sees_no_y_before_it_is_given():
  model = regression.Model(
    vocab_size=1, hidden_size=16, num_layers=1, num_heads=2, max_length=10
  )
  _, found = batch(dim=3, points=5, count=1)
  xs, ys = jnp.asarray(found['xs']), jnp.asarray(found['ys'])
  variables = model.init(jax.random.key(0), xs, ys)
  by_y = jax.jit(jax.jacrev(lambda ys: model.apply(variables, xs, ys)[0]))(ys)
  by_y = abs(by_y[:, 0])  # [prediction, y]
  assert (np.triu(by_y) == 0).all()
  assert (by_y[np.tril_indices(5, -1)] > 0).all()
  by_x = jax.jit(jax.jacrev(lambda xs: model.apply(variables, xs, ys)[0]))(xs)
  by_x = abs(by_x[:, 0]).sum(-1)
  assert (np.triu(by_x, 1) == 0).all() and (np.diag(by_x) > 0).all()


def icl_rows(own, last=0.02, low=0.05, faster=1000):
  d = own['dim']
  rows = []
  for step in range(250, 4001, 250):
    row = {'step': step, 'eval/prompts/below_low': low}
    row['eval/prompts/below_high'] = low + 0.1
    slow = 0 if own['curriculum_steps'] else faster
    for i in range(2 * d + 1):
      line = max(1 - i / d, 0.0)
      row[f'eval/prompts/least_squares_{i}'] = line
      row[f'eval/prompts/lasso_{i}'] = line / 2
      row[f'eval/prompts/averaging_{i}'] = 0.6
      row[f'eval/prompts/error_{i}'] = line + (
        last if step > 1500 + slow else 0.5
      )
    rows.append(row)
  return rows


def test_icl_criteria(tmp_path):
  module = icl_regression
  assert common.verdicts(module, icl_rows) == ['reproduced'] * 3

  def weak(own):
    return icl_rows(own, last=0.06, low=-0.01, faster=0)

  assert common.verdicts(module, weak) == [
    'direction only',
    'direction only',
    'not reproduced',
  ]

  def none(own):
    return icl_rows(own, last=0.5, low=-0.5, faster=-500)

  assert common.verdicts(module, none) == ['not reproduced'] * 3
  assert common.verdicts(module, icl_rows, done=False) == ['unfinished'] * 3
  common.draw(module, icl_rows, tmp_path)


def diversity_rows(own, new=None, seen=0.2):
  m = own['tasks']
  share = np.log2(m / 8) / 9  # 0 at the fewest, 1 at the most
  return [
    {
      'step': 4000,
      'eval/prompts/new_error': 1.0 - 0.55 * share if new is None else new,
      'eval/prompts/new_ridge_error': 0.42,
      'eval/prompts/new_dmmse_error': 1.2 - 0.7 * share,
      'eval/prompts/new_to_ridge': 0.5 - 0.45 * share,
      'eval/prompts/new_to_dmmse': 0.2 - 0.1 * share if new is None else 0.6,
      'eval/prompts/seen_error': seen,
      'eval/prompts/seen_dmmse_error': 0.18,
      'eval/prompts/seen_ridge_error': 0.4,
    }
  ]


def test_crossing_lies_between_the_sizes_where_the_nearer_one_changes():
  ridge = {8: np.array([4.0, 1.0, 2.0]), 64: np.array([1.0, 1.0, 2.0])}
  dmmse = {8: np.array([1.0, 2.0, 1.0]), 64: np.array([2.0, 3.0, 1.0])}
  # log2 of their ratio goes from -2 to 1 over 3 doublings; ridge is the nearer
  # one from the first; it never is.
  found = task_diversity._crossing(ridge, dmmse)
  np.testing.assert_allclose(found, [32, 8, np.inf])


def test_diversity_criteria(tmp_path):
  module = task_diversity
  assert common.verdicts(module, diversity_rows) == ['reproduced'] * 3

  def none(own):
    return diversity_rows(own, new=0.9, seen=0.35)

  assert common.verdicts(module, none) == [
    'not reproduced',
    'not reproduced',
    'direction only',
  ]
  assert (
    common.verdicts(module, diversity_rows, done=False) == ['unfinished'] * 3
  )
  common.draw(module, diversity_rows, tmp_path)
