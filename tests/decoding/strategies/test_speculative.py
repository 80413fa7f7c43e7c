"""Speculative sampling draws from the model, at the rate that theory gives."""

import numpy as np
import pytest

from ctxlm.decoding.processors import temperature, top_k
from ctxlm.decoding.rules import Rules
from ctxlm.decoding.strategies import greedy, speculative
from tests.decoding import toys

V = 7
RNG = np.random.default_rng(0)
TARGET = RNG.normal(0, 1.2, (V, V)).astype(np.float32)
DRAFT = (TARGET + RNG.normal(0, 0.8, (V, V))).astype(np.float32)
ROWS = 40_000


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def pairs_of(p, first):
  """Exact distribution of the first two new tokens, [v, v]."""
  return p[first][:, None] * p


@pytest.mark.slow
@pytest.mark.parametrize(
  'draft, filtered', [('model', False), ('model', True), ('look-up', True)]
)
def test_distribution_is_the_models(draft, filtered, optimized):
  step = (toys.markov(TARGET), toys.markov(DRAFT))
  processors = ()
  p = softmax(TARGET.astype(np.float64))
  if filtered:
    processors = (temperature.Processor(0.8), top_k.Processor(4))
    p = softmax(TARGET.astype(np.float64) / 0.8)
    p *= p >= np.sort(p)[:, -4:][:, :1]
    p /= p.sum(1, keepdims=True)
  # A prompt with repetitions, so that looking up finds something.
  prompt = np.tile([1, 2, 3, 1, 2], (ROWS, 1))
  found = toys.write(
    speculative.Strategy(length=3),
    step if draft == 'model' else step[:1],
    prompt,
    new=6,
    rules=Rules(processors),
    caches=2 if draft == 'model' else 1,
  )
  tokens = found['tokens']
  expected = ROWS * pairs_of(p, 2)
  counts = np.bincount(tokens[:, 0] * V + tokens[:, 1], minlength=V * V)
  assert toys.chi_square(counts, expected.ravel()) > 1e-3
  # Later pairs, which are across steps too: of the stationary process.
  at = np.zeros(V)
  at[2] = 1
  for i in range(4):
    at = at @ p
    counts = np.bincount(tokens[:, i] * V + tokens[:, i + 1], minlength=V * V)
    expected = ROWS * (at[:, None] * p).ravel()
    assert toys.chi_square(counts, expected) > 1e-3
  # What is cached is all but the last token.
  assert (found['cache'] == 5 + 6 - 1).all()


@pytest.mark.slow
def test_acceptance_rate_is_the_analytic_one(optimized):
  # Distributions that don't depend on the token before: then a draft is
  # accepted with probability sum min(p, q) (Leviathan et al., theorem 3.5).
  p, q = np.tile(TARGET[0], (V, 1)), np.tile(DRAFT[0], (V, 1))
  found = toys.write(
    speculative.Strategy(length=4),
    (toys.markov(p), toys.markov(q)),
    np.zeros((ROWS // 4, 1)),
    new=20,
    caches=2,
  )
  rate = np.minimum(softmax(p[0]), softmax(q[0])).sum()
  tested = found['tested'].sum()
  error = np.sqrt(rate * (1 - rate) / tested)
  assert abs(found['accepted'].sum() / tested - rate) < 4 * error
  assert 0.5 < rate < 0.95


def test_a_draft_equal_to_the_model_is_always_accepted():
  step = (toys.markov(TARGET), toys.markov(TARGET))
  found = toys.write(
    speculative.Strategy(length=4), step, np.zeros((64, 1)), new=20, caches=2
  )
  assert (found['accepted'] == found['tested']).all()


@pytest.mark.parametrize('draft', ['model', 'look-up'])
def test_greedy_is_greedy(draft):
  step = (toys.markov(TARGET), toys.markov(DRAFT))
  prompts = RNG.integers(0, V, (16, 6))
  rules = Rules(eos_ids=(3,), pad_id=0)
  want = toys.write(greedy.Strategy(), step[0], prompts, new=15, rules=rules)
  found = toys.write(
    speculative.Strategy(length=3, greedy=True),
    step if draft == 'model' else step[:1],
    prompts,
    new=15,
    rules=rules,
    caches=2 if draft == 'model' else 1,
  )
  np.testing.assert_array_equal(found['tokens'], want['tokens'])
  np.testing.assert_array_equal(found['lengths'], want['lengths'])
  assert found['accepted'].sum() > 0


def test_looking_up_drafts_what_followed():
  strategy = speculative.Strategy(length=3, ngram=3)
  from ctxlm.decoding import text as text_lib

  #          0  1  2  3  4  5  6  7  8  9
  tokens = [[5, 1, 2, 3, 9, 8, 2, 3, 7, 4, 1, 2, 3]]
  text = text_lib.begin(
    np.array(tokens, np.int32),
    np.zeros(1, np.int32),
    np.full(1, 4),
    np.zeros(1, np.int32),
    0,
    room=4,
  )
  # 1 2 3 stood at columns 1 to 3; 2 3 alone stood later.
  assert strategy._look_up(text).tolist() == [[9, 8, 2]]
  shorter = speculative.Strategy(length=3, ngram=2)
  assert shorter._look_up(text).tolist() == [[7, 4, 1]]
