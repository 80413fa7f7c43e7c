"""Theory lines of what is hidden against brute force."""

import itertools

import numpy as np
import pytest

from ctxlm.experiments import bayes


def density(x, mean, variance):
  return np.exp(-((x - mean) ** 2) / (2 * variance)) / variance**0.5


def test_label_in_context_is_the_integral_over_means():
  rng = np.random.default_rng(0)
  noise, d = 0.6, 2
  scale = (1 + noise**2) ** 0.5
  xs = rng.standard_normal((3, 5, d))
  labels = np.array([[0, 2, 0, 0], [1, 1, 2, 0], [2, 2, 1, 1]])
  posterior = bayes.label_in_context(xs, labels, 4, noise)
  np.testing.assert_allclose(posterior.sum(-1), 1)
  grid = np.linspace(-6, 6, 4001)
  spread = noise**2 / d / scale**2
  for row, own, said in zip(xs, labels, posterior):
    wanted = np.zeros(4)
    for label in set(own):
      items = row[:-1][own == label]
      wanted[label] = len(items)
      for dim in range(d):  # independent of each other, given the label
        prior = density(grid, 0, 1 / d)
        for x in items[:, dim]:
          prior = prior * density(x, grid / scale, spread)
        after = prior * density(row[-1, dim], grid / scale, spread)
        wanted[label] *= after.sum() / prior.sum()
    np.testing.assert_allclose(said, wanted / wanted.sum(), atol=1e-6)


def test_label_in_weights_is_bayes_rule():
  rng = np.random.default_rng(1)
  noise, d, classes, labels = 0.7, 3, 7, 3
  means = rng.standard_normal((classes, d)) / d**0.5
  shares = rng.dirichlet(np.ones(classes))
  xs = rng.standard_normal((4, d))
  context = np.array([[0, 0], [1, 1], [0, 1], [2, 2]])
  said = bayes.label_in_weights(xs, context, means, shares, labels, noise)
  scale = (1 + noise**2) ** 0.5
  for x, there, own in zip(xs, context, said):
    wanted = np.zeros(labels)
    for k in range(classes):
      if k % labels not in there:
        p = density(x, means[k] / scale, noise**2 / d / scale**2).prod()
        wanted[k % labels] += shares[k] * p
    np.testing.assert_allclose(own, wanted / wanted.sum(), atol=1e-9)
  assert said[2] == pytest.approx([0, 0, 1])


def models(states=3, symbols=2, concepts=2, seed=2):
  rng = np.random.default_rng(seed)
  transitions = rng.dirichlet(np.ones(states), (concepts, states))
  return rng, transitions, rng.dirichlet(np.ones(symbols), states)


def joint(tokens, initial, moves, emission):
  """Returns P(tokens, state after them) [s], a sum over all paths."""
  states = len(initial)
  total = np.zeros(states)
  for path in itertools.product(range(states), repeat=len(tokens) + 1):
    p = initial[path[0]]
    for t, symbol in enumerate(tokens):
      p = p * emission[path[t], symbol] * moves[path[t], path[t + 1]]
    total[path[-1]] += p
  return total


@pytest.mark.parametrize('leak', [0.0, 0.2])
def test_next_of_document_is_a_sum_over_paths(leak):
  rng, transitions, emission = models()
  tokens = rng.integers(0, 2, (3, 4))
  said = bayes.next_of_document(tokens, transitions, emission, leak)
  for row, own in zip(tokens, said):
    total = np.zeros(3)
    for moves in transitions:
      moves = (1 - leak) * moves + leak / 3
      total += joint(row, np.full(3, 1 / 3), moves, emission)
    np.testing.assert_allclose(own, total @ emission / total.sum())


def test_a_document_that_cannot_be_has_an_answer():
  swap = np.array([[[0.0, 1.0], [1.0, 0.0]]])
  said = bayes.next_of_document(np.array([[0, 0]]), swap, np.eye(2))
  np.testing.assert_allclose(said, [[0, 1]], atol=1e-5)


def test_label_of_examples_is_a_sum_over_concepts_and_starts():
  rng, transitions, emission = models(symbols=3)
  starts = rng.dirichlet(np.ones(3), 2)
  examples = rng.integers(0, 3, (4, 3, 2))
  query = rng.integers(0, 3, (4, 1))
  said = bayes.label_of_examples(examples, query, starts, transitions, emission)
  assert said.shape == (4, 4, 3)
  for b, n in itertools.product(range(4), range(4)):
    wanted = np.zeros(3)
    for moves, start in itertools.product(transitions, starts):
      p = 1.0
      for example in examples[b, 3 - n :]:
        p *= joint(example, start, moves, emission).sum()
      after = joint(query[b], start, moves, emission)
      wanted[(after @ emission).argmax()] += p * after.sum()
    np.testing.assert_allclose(said[b, n], wanted / wanted.sum())
