"""Continuations: the chain rule, whoever shares a beginning."""

import jax
import numpy as np
import pytest

from ctxlm.decoding import continuations
from ctxlm.inference import loading, score
from ctxlm.parallel import pmap


@pytest.fixture(scope='module')
def opened(loaded):
  placement = pmap.Pmap(jax.devices()[:2])
  return loading.load(loaded['causal'].folder, placement), placement


def ask(opened, pairs, **options):
  loaded, placement = opened
  options = {'max_length': loaded.max_length} | options
  judge = continuations.Continuations(loaded.model, placement, **options)
  return judge(loaded.params, pairs)


def draw(seed, *sizes):
  return np.random.default_rng(seed).integers(5, 60, sizes).tolist()


BEGINNING = draw(0, 17)
PAIRS = [
  # Questions, each with options of one id and of more.
  *(
    ([*BEGINNING, *question], option)
    for question in (draw(1, 3), draw(2, 4), draw(3, 1))
    for option in ([7], [8], draw(4, 3), draw(5, 2))
  ),
  (BEGINNING, draw(1, 3)),  # its ids are those of a question
  ([5], [9]),
  ([5], draw(6, 4)),
]


def test_the_chain_rule_holds_whoever_shares_a_beginning(opened):
  loaded, _ = opened
  whole = score.scores(loaded, [a + b for a, b in PAIRS])
  for options in ({'batch_size': 4}, {'batch_size': 64}):
    found = ask(opened, PAIRS, **options)
    for (_, ids), (logps, _), wanted in zip(PAIRS, found, whole, strict=True):
      assert logps.shape == (len(ids),)
      np.testing.assert_allclose(logps, wanted[-len(ids) :], atol=1e-5)


def test_the_likeliest_id_is_said_to_be_so(opened):
  size, context = opened[0].model.vocab_size, draw(9, 20)
  every = [(context, [i]) for i in range(size)]
  found = ask(opened, every, batch_size=4)
  logps = np.array([x[0] for x, _ in found])
  best = [bool(b[0]) for _, b in found]
  assert best.index(True) == logps.argmax() and sum(best) == 1
  np.testing.assert_allclose(np.exp(logps).sum(), 1, atol=1e-5)


def test_a_context_that_is_too_long_loses_its_beginning(opened):
  context, ids = draw(1, 30), draw(2, 3)
  cut = ask(opened, [(context, ids)], max_length=9, batch_size=2)
  kept = ask(opened, [(context[-7:], ids)], batch_size=2)
  np.testing.assert_allclose(cut[0][0], kept[0][0], atol=1e-5)


def test_a_beginning_is_shared_where_that_saves_the_most():
  a, b = (1,) * 40, (1,) * 18 + (2,) * 22
  rows = sorted([(*a, 1, i) for i in range(4)] + [(*b, i) for i in range(3)])
  firsts = [len(row) - 1 for row in rows]
  # Apart 3 * 41 and 2 * 40 ids are saved, together 6 * 18.
  assert continuations.shared(rows, firsts, 2) == [(0, 4, 41), (4, 7, 40)]
  # Of 5 rows and more there is one group alone.
  assert continuations.shared(rows, firsts, 5) == [(0, 7, 18)]
  assert continuations.shared(rows, firsts, 8) == [(0, 7, 0)]
  # What is asked of may not be in what is shared.
  firsts[1] = 17
  assert continuations.shared(rows, firsts, 5) == [(0, 7, 17)]
