"""Random automata, the least ones of their languages, and n-grams."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from ctxlm.experiments import automata

SOURCE = automata.Source(
  symbols=6, least=4, states=5, edges=3, longest=5, length=60, num_examples=64
)


def batch(source=SOURCE):
  keys = jax.random.split(jax.random.key(0), source.num_examples)
  return jax.device_get(jax.jit(jax.vmap(source.example))(keys))


def test_strings_are_of_their_automata():
  made = batch()
  lengths, used, edges = [], [], []
  for tokens, targets, weights, moves, states in zip(*map(made.get, FIELDS)):
    np.testing.assert_array_equal(tokens[1:], targets[:-1])
    np.testing.assert_array_equal(weights, targets < 6)
    assert tokens[0] == 6
    state, size = 0, 0
    for token, target, before in zip(tokens, targets, states):
      if token == 6:
        state, size = 0, 0
      if target < 6:
        assert before == state and moves[state, target] >= 0
        state, size = moves[state, target], size + 1
      else:
        lengths.append(size)
    edges += list((moves >= 0).sum(1))
    assert moves.shape == (5, 6) and moves.max() < 5
    used.append(tuple(np.flatnonzero((moves >= 0).any(0))))
    for state, row in enumerate(moves):
      to = row[row >= 0]
      assert len(set(to)) == len(to) and state not in to
  assert set(lengths) == {1, 2, 3, 4, 5} and set(edges) == {1, 2, 3}
  # As many symbols as states, 4 or 5 of the 6, and not always the same.
  assert max(map(len, used)) == 5 and len(set(used)) > 10
  with pytest.raises(ValueError, match='edges'):
    automata.Source(edges=4)


FIELDS = 'tokens', 'targets', 'weights', 'automaton', 'states'


def words(moves, state, depth):
  """Returns all words of up to `depth` symbols that are accepted."""
  found = {()}
  if depth:
    for symbol, after in enumerate(moves[state]):
      if after >= 0:
        rest = words(moves, after, depth - 1)
        found |= {(symbol, *word) for word in rest}
  return frozenset(found)


def test_minimal_has_a_state_for_every_rest_of_the_language():
  rng = np.random.default_rng(0)
  smaller = 0
  for _ in range(150):
    size = rng.integers(1, 6)
    moves = rng.integers(-1, size, (size, 2))
    least = automata.minimal(moves)
    # Two states of n that differ do so by a word of n symbols at most.
    assert words(least, 0, 7) == words(moves, 0, 7)
    met = {0}
    for _ in range(size):
      met |= {t for s in met for t in moves[s] if t >= 0}
    rests = {words(moves, s, 5) for s in met}
    assert len(least) == len(rests)
    smaller += len(least) < len(met)
    order = np.concatenate([[0], 1 + rng.permutation(size - 1)])
    renamed = np.empty_like(moves)
    renamed[order] = np.where(moves >= 0, order[moves], -1)
    assert automata.minimal(renamed) == least
  assert smaller > 20


def history(row, end, size):
  """Returns up to `size` tokens, none before the last separator."""
  own = row[max(end + 1 - size, 0) : end + 1]
  return own[max((i for i, x in enumerate(own) if x == 6), default=0) :]


def test_ngrams_by_counting_again_at_every_place():
  tokens = batch()['tokens'][:4, :40]
  for order in (1, 2, 3):
    said = automata.ngrams_in_context(tokens, order, 6)
    np.testing.assert_allclose(said.sum(-1), 1)
    for b, t in itertools.product(range(4), range(40)):
      row = list(tokens[b, : t + 1])
      wanted, last = np.full(6, 1 / 6), None
      for size in range(order):
        now = history(row, t, size)
        if now == last:
          continue
        last = now
        # What followed it, wherever it stood, as far as it looks back.
        after = [
          row[s + 1]
          for s in range(t)
          if row[s + 1] != 6
          and history(row, s, size)[-len(now) or size :] == now
        ]
        counts = np.bincount(after, minlength=6)
        if counts.sum():
          kinds = (counts > 0).sum()
          wanted = (counts + kinds * wanted) / (counts.sum() + kinds)
      np.testing.assert_allclose(said[b, t], wanted)


def test_judged_by_hand():
  truth = np.array([[[0.5, 0.5, 0], [0, 1, 0]]])
  p = np.array([[[0.6, 0.4, 0], [0.7, 0.3, 0]]])
  both, last = np.array([[True, True]]), np.array([[False, True]])
  targets = np.array([[1, 1]])
  found = automata.judged(p, truth, targets, both)
  assert found['accuracy'] == 0.5
  assert found['distance'] == pytest.approx((0.1 + 0.7) / 2)
  assert found['loss'] == pytest.approx(-np.log(0.4 * 0.3) / 2)
  assert automata.judged(p, truth, targets, last)['accuracy'] == 0


def test_lines_know_less_than_the_language():
  source = dataclasses.replace(SOURCE, length=200)
  made, truth, lines = automata.fixed(source)
  np.testing.assert_allclose(truth.sum(-1), 1)
  late = (made['weights'] > 0) & (np.arange(200) >= 150)

  def loss(p):
    return automata.judged(p, truth, made['targets'], late)['loss']

  one, two, three = (loss(lines[f'{n}gram_']) for n in (1, 2, 3))
  # The state is known by the symbol that led to it, but not always.
  assert loss(truth) < three < one and loss(truth) < two < one
