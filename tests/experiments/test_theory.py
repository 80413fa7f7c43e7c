"""Theory lines against brute force: sums over all that could have been."""

import itertools
import math

import jax
import numpy as np
import pytest
from scipy import special
from sklearn import linear_model, neighbors

from ctxlm.experiments import markov, theory


def dirichlet_grid(n=400):
  """Returns midpoints of [0, 1], to integrate over a two-symbol simplex."""
  p = (np.arange(n) + 0.5) / n
  return np.stack([p, 1 - p], -1)


def test_unigram_is_the_integral_over_distributions():
  tokens = np.array([[0, 1, 1, 0, 1]])
  posterior = theory.unigram_in_context(tokens, 2)
  grid = dirichlet_grid()
  for t in range(5):
    likelihood = np.prod(grid[:, tokens[0, : t + 1]], axis=1)
    wanted = (likelihood[:, None] * grid).sum(0) / likelihood.sum()
    np.testing.assert_allclose(posterior[0, t], wanted, atol=1e-5)


def test_bigram_is_the_integral_over_chains():
  tokens = np.array([[0, 1, 1, 0, 1, 0]])
  posterior = theory.bigram_in_context(tokens, 2)
  grid = dirichlet_grid(60)
  chains = [np.stack(rows) for rows in itertools.product(grid, grid)]
  for t in range(6):
    total, after = 0.0, np.zeros(2)
    for chain in chains:
      p = math.prod(
        chain[a, b] for a, b in itertools.pairwise(tokens[0, : t + 1])
      )
      total += p
      after += p * chain[tokens[0, t]]
    np.testing.assert_allclose(posterior[0, t], after / total, atol=1e-3)


def prompts(b=3, k=7, d=3, noise=0.3, seed=0):
  rng = np.random.default_rng(seed)
  xs, w = rng.standard_normal((b, k, d)), rng.standard_normal((b, d))
  ys = np.einsum('bkd,bd->bk', xs, w) + noise * rng.standard_normal((b, k))
  return xs, ys


def test_least_squares_is_lstsq_of_what_came_before():
  xs, ys = prompts()
  predictions = theory.least_squares(xs, ys)
  assert (predictions[:, 0] == 0).all()
  for b, t in itertools.product(range(3), range(1, 7)):
    w = np.linalg.lstsq(xs[b, :t], ys[b, :t], rcond=None)[0]
    assert predictions[b, t] == pytest.approx(xs[b, t] @ w)
  xs, ys = prompts(noise=0.0)
  np.testing.assert_allclose(
    theory.least_squares(xs, ys)[:, 3:], ys[:, 3:], atol=1e-9
  )


def test_ridge_is_the_posterior_mean():
  xs, ys = prompts(d=1, k=5)
  predictions = theory.ridge(xs, ys, 0.3**2)
  w = np.linspace(-8, 8, 20001)
  for b, t in itertools.product(range(3), range(5)):
    log = -(w**2) / 2
    for x, y in zip(xs[b, :t, 0], ys[b, :t]):
      log = log - (y - w * x) ** 2 / (2 * 0.3**2)
    p = np.exp(log - log.max())
    wanted = (p * w).sum() / p.sum() * xs[b, t, 0]
    assert predictions[b, t] == pytest.approx(wanted, abs=1e-6)


def test_ridge_of_several_dimensions_is_bayes_rule_step_by_step():
  xs, ys = prompts()
  predictions = theory.ridge(xs, ys, 0.3**2)
  for b in range(3):
    mean, cov = np.zeros(3), np.eye(3)
    for t in range(7):
      assert predictions[b, t] == pytest.approx(xs[b, t] @ mean)
      gain = cov @ xs[b, t] / (xs[b, t] @ cov @ xs[b, t] + 0.3**2)
      mean = mean + gain * (ys[b, t] - xs[b, t] @ mean)
      cov = cov - np.outer(gain, xs[b, t] @ cov)


def test_averaging():
  xs, ys = prompts()
  predictions = theory.averaging(xs, ys)
  w = np.mean([x * y for x, y in zip(xs[1, :4], ys[1, :4])], axis=0)
  assert predictions[1, 4] == pytest.approx(w @ xs[1, 4])


def weights(line, xs, ys, t):
  """Returns w of a line of theory [b, d] after t examples, as it tells it."""
  asked = np.repeat(xs[None], xs.shape[-1], 0)
  asked[:, :, t] = np.eye(xs.shape[-1])[:, None]
  return np.stack([line(x, ys)[:, t] for x in asked], 1)


@pytest.mark.parametrize('penalty', [0.01, 0.1])
def test_lasso_is_that_of_scikit_learn_also_of_few_examples(penalty):
  xs, ys = prompts(b=4, k=9, d=6, noise=0.1)
  for t in (1, 3, 5, 8):
    w = weights(lambda x, y: theory.lasso(x, y, penalty), xs, ys, t)
    for own, x, y in zip(w, xs[:, :t], ys[:, :t]):
      wanted = linear_model.Lasso(
        penalty, fit_intercept=False, tol=1e-12, max_iter=10**6
      ).fit(x, y)
      np.testing.assert_allclose(own, wanted.coef_, atol=1e-4)
      # Its dual bounds how far from the least it can be: Kim et al. 2007.
      rest = y - x @ own
      dual = rest * min(1, penalty * t / abs(x.T @ rest).max())
      gap = (rest @ rest - y @ y + (y - dual) @ (y - dual)) / (2 * t)
      assert abs(gap + penalty * abs(own).sum()) < 1e-12 * (y @ y)


def test_lasso_of_a_small_penalty_is_least_squares():
  xs, ys = prompts(k=9)
  np.testing.assert_allclose(
    theory.lasso(xs, ys, 1e-9)[:, 4:],
    theory.least_squares(xs, ys)[:, 4:],
    atol=1e-6,
  )
  assert (theory.lasso(xs, 0 * ys, 0.1) == 0).all()


def test_sparse_posterior_mean_is_the_integral_over_w():
  xs, ys = prompts(b=2, k=4, d=2, noise=0.3)
  predictions = theory.sparse_posterior_mean(xs, ys, 1, noise=0.3)
  w = np.linspace(-12, 12, 20001)  # N(0, 2), on either axis
  for b, t in itertools.product(range(2), range(4)):
    parts = []
    for j in range(2):
      log = -(w**2) / 4
      for x, y in zip(xs[b, :t, j], ys[b, :t]):
        log = log - (y - w * x) ** 2 / (2 * 0.3**2)
      parts.append((np.exp(log), w * xs[b, t, j]))
    wanted = sum((p * out).sum() for p, out in parts)
    wanted /= sum(p.sum() for p, _ in parts)
    assert predictions[b, t] == pytest.approx(wanted, abs=1e-6)


def test_sparse_posterior_mean_knows_w_once_one_support_is_left():
  rng = np.random.default_rng(0)
  xs, w = rng.standard_normal((20, 7, 6)), rng.standard_normal((20, 6))
  w[:, 2:] = 0
  ys = np.einsum('bkd,bd->bk', xs, w)
  error = (theory.sparse_posterior_mean(xs, ys, 2) - ys) ** 2
  assert error[:, 3:].mean() < 1e-4 < 0.1 < error[:, 1].mean()


def test_trigger_text_is_what_its_source_says():
  source = markov.Source('trigger', num_symbols=12, length=60, num_examples=300)
  keys = jax.random.split(jax.random.key(0), source.num_examples)
  batch = jax.device_get(jax.jit(jax.vmap(source.example))(keys))
  chain, _, order = markov.fixed_chain(12)
  line = theory.trigger_text(batch['tokens'], chain, order[:5])
  at = np.take_along_axis(line, batch['targets'][..., None], -1)[..., 0]
  np.testing.assert_allclose(line.sum(-1), 1)
  assert (at[batch['asked']] == 1).all() and (at > 0).all()
  trigger = np.isin(batch['tokens'], order[:5])
  np.testing.assert_allclose(at[trigger & ~batch['asked']], 1 / 7)
  # It is calibrated: its mean log-loss is its mean entropy.
  gap = (-np.log(at) - special.entr(line).sum(-1)).mean(1)
  assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
  without = theory.trigger_text(batch['tokens'], chain, order[:5], False)
  np.testing.assert_allclose(without[~trigger], line[~trigger])
  np.testing.assert_allclose(without[trigger].max(-1), 1 / 7)


def test_discrete_posterior_mean_sums_over_tasks():
  xs, ys = prompts()
  tasks = np.random.default_rng(1).standard_normal((5, 3))
  predictions = theory.discrete_posterior_mean(xs, ys, tasks, 0.5)
  for b, t in itertools.product(range(3), range(7)):
    p = [
      math.prod(
        math.exp(-((y - x @ w) ** 2) / 0.5)
        for x, y in zip(xs[b, :t], ys[b, :t])
      )
      for w in tasks
    ]
    wanted = sum(a * (w @ xs[b, t]) for a, w in zip(p, tasks)) / sum(p)
    assert predictions[b, t] == pytest.approx(wanted)


def test_forward_backward_sums_over_all_paths():
  rng = np.random.default_rng(0)
  initial = rng.dirichlet(np.ones(3))
  transition = rng.dirichlet(np.ones(3), 3)
  emission = rng.dirichlet(np.ones(4), 3)
  observed = [0, 3, 1, 1, 2]
  total, wanted = 0.0, np.zeros((5, 3))
  for path in itertools.product(range(3), repeat=5):
    p = initial[path[0]] * emission[path[0], observed[0]]
    for t in range(1, 5):
      p *= transition[path[t - 1], path[t]] * emission[path[t], observed[t]]
    total += p
    for t, state in enumerate(path):
      wanted[t, state] += p
  posterior, log = theory.forward_backward(
    observed, initial, transition, emission
  )
  np.testing.assert_allclose(posterior, wanted / total, rtol=1e-10)
  assert log == pytest.approx(math.log(total))


def test_kneser_ney_by_hand():
  # 'a b c', 'a b d', 'e b c': bigrams ab 2, bc 2, bd 1, eb 1.
  a, b, c, d, e = range(5)
  model = theory.KneserNey([[a, b, c], [a, b, d], [e, b, c]], 2, 5)
  # Unigrams count what precedes; the first words have nothing before them,
  # and count as they are: a 2, e 1; b 2 (a, e), c 1 (b), d 1 (b): 7 in all,
  # of which three are once and two are twice.
  discount = 3 / (3 + 2 * 2)
  lower = {
    w: (max(n - discount, 0) + discount * 5 / 5) / 7
    for w, n in {a: 2, b: 2, c: 1, d: 1, e: 1}.items()
  }
  assert sum(lower.values()) == pytest.approx(1)
  for word in range(5):
    assert model.probability([], word) == pytest.approx(lower[word])
  discount = 2 / (2 + 2 * 2)  # of bigrams: two once, two twice
  wanted = (2 - discount + discount * 2 * lower[c]) / 3
  assert model.probability([a, b], c) == pytest.approx(wanted)
  # A word that was no history is left to the unigrams.
  assert model.probability([c], a) == pytest.approx(lower[a])


@pytest.mark.parametrize('order', [1, 2, 3])
def test_kneser_ney_is_a_distribution(order):
  rng = np.random.default_rng(0)
  text = [rng.integers(0, 6, 30) for _ in range(5)]
  model = theory.KneserNey(text, order, 7)
  for history in itertools.product(range(7), repeat=2):
    total = sum(model.probability(history, w) for w in range(7))
    assert total == pytest.approx(1)
    assert all(model.probability(history, w) > 0 for w in range(6))


def test_nearest_neighbours_are_scikit_learns():
  rng = np.random.default_rng(0)
  xs, ys = rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 9))
  found = theory.nearest_neighbours(xs, ys)
  for b in range(2):
    assert found[b, 0] == 0
    for t in range(1, 9):
      own = neighbors.KNeighborsRegressor(n_neighbors=min(3, t))
      own.fit(xs[b, :t], ys[b, :t])
      assert found[b, t] == pytest.approx(own.predict(xs[b, t : t + 1])[0])
