"""Which examples are shown: counts, seeds, orders, and likeness."""

import collections

import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.evaluators import demonstrations

LABELS = np.array([0] * 30 + [1] * 6 + [2] * 4)


def drawn(seed, shots=7, labels=None):
  rng = np.random.default_rng(seed)
  return demonstrations.draw(len(LABELS), shots, rng, labels)


def test_a_seed_draws_the_same_and_another_others():
  assert drawn(0) == drawn(0) != drawn(1)
  assert len({*drawn(0)}) == 7
  counts = collections.Counter(i for s in range(400) for i in drawn(s))
  # Each of 40 is drawn 70 times of 400: five standard deviations around.
  assert len(counts) == 40 and all(32 < n < 108 for n in counts.values())


def test_balanced_draws_have_as_many_of_each_label():
  more = collections.Counter()
  for seed in range(60):
    found = drawn(seed, labels=LABELS)
    counts = collections.Counter(LABELS[found].tolist())
    assert sorted(counts.values()) == [2, 2, 3] and len({*found}) == 7
    more[max(counts, key=counts.get)] += 1
  assert len(more) == 3  # which label has one more is drawn, too
  firsts = {int(LABELS[drawn(seed, labels=LABELS)[0]]) for seed in range(20)}
  assert firsts == {0, 1, 2}  # they are mixed


def test_orders_are_permutations_of_one_draw():
  chosen = drawn(3)
  assert demonstrations.ordered(chosen, 0, 3) == chosen
  found = {tuple(demonstrations.ordered(chosen, n, 3)) for n in range(1, 30)}
  assert len(found) > 25 and {tuple(sorted(x)) for x in found} == {
    tuple(sorted(chosen))
  }
  one = demonstrations.ordered(chosen, 5, 3)
  assert one == demonstrations.ordered(chosen, 5, 3)


def test_the_nearest_are_those_of_all_pairs():
  rng = np.random.default_rng(0)
  alike = rng.normal(size=40)
  alike[np.argmax(alike)] = -np.inf  # the query itself
  best = sorted(range(40), key=lambda i: alike[i])
  assert demonstrations.nearest(alike, 5, None) == best[-5:]
  own = [[i for i in best if LABELS[i] == k][-2:] for k in range(3)]
  want = sorted((i for each in own for i in each), key=lambda i: alike[i])
  assert demonstrations.nearest(alike, 6, rng, LABELS) == want


def test_too_few_examples():
  with pytest.raises(UserError, match='shots=41 is more than the 40 examples'):
    drawn(0, shots=41)
  with pytest.raises(UserError, match="5 are needed of the label '2', which 4"):
    drawn(0, shots=15, labels=LABELS)
  alike = np.array([-np.inf, 1.0])
  with pytest.raises(UserError, match='shots=2 is more than the 1 examples'):
    demonstrations.nearest(alike, 2, None)
