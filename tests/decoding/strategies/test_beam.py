"""Beam search against brute force, and groups against the paper's algorithm."""

import itertools

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.decoding.rules import Rules
from ctxlm.decoding.strategies import beam
from ctxlm.errors import UserError
from tests.decoding import toys

V, EOS = 4, 3


def log_softmax(x):
  x = x.astype(np.float64)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def table(seed):
  """Logits by place and last token, so that no two texts have one score."""
  shape = (6, V, V)
  return np.random.default_rng(seed).normal(0, 1.5, shape).astype(np.float32)


def every_text(longest):
  """Yields all texts that end with EOS, or are as long as can be."""
  others = [t for t in range(V) if t != EOS]
  for n in range(1, longest + 1):
    for head in itertools.product(others, repeat=n - 1):
      for last in range(V):
        if last == EOS or n == longest:
          yield (*head, last)


def score(logp, first, text, penalty):
  total, before = 0.0, first
  for place, token in enumerate(text):
    total, before = total + logp[place, before, token], token
  return total / len(text) ** penalty


@pytest.mark.parametrize('penalty', [0.0, 1.0, 2.0])
@pytest.mark.parametrize('seed', range(4))
def test_as_wide_as_the_space_it_finds_the_best(seed, penalty):
  new, first = 4, 0
  logp = log_softmax(table(seed))
  ranked = sorted(
    every_text(new), key=lambda t: -score(logp, first, t, penalty)
  )
  found = toys.write(
    beam.Strategy(
      num_beams=(V - 1) ** (new - 1) * 2,
      num_best=5,
      length_penalty=penalty,
      early_stopping='never',
    ),
    toys.markov(table(seed)),
    [[first]],
    new=new,
    rules=Rules(eos_ids=(EOS,), pad_id=0),
  )
  texts = [
    tuple(tokens[:length].tolist())
    for tokens, length in zip(found['tokens'], found['lengths'], strict=True)
  ]
  assert texts == ranked[:5]
  want = [score(logp, first, t, penalty) for t in texts]
  np.testing.assert_allclose(found['scores'], want, atol=1e-5)


def diverse(logp, first, groups, width, strength, new):
  """Vijayakumar et al. 2018, algorithm 1, one hypothesis at a time.

  Returns the finished texts of each group, best first.
  """
  going = [[((), 0.0)] for _ in range(groups)]
  finished = [[] for _ in range(groups)]
  for step in range(new):
    used = []
    for g in range(groups):
      options = []
      for text, total in going[g]:
        before = text[-1] if text else first
        for token in range(V):
          cost = strength * used.count(token)
          options.append(
            ((*text, token), total + logp[step, before, token] - cost)
          )
      options.sort(key=lambda o: -o[1])
      options = options[: 2 * width]
      for rank, (text, total) in enumerate(options):
        ends = text[-1] == EOS or step == new - 1
        if ends and rank < width:
          finished[g].append((total / len(text), text))
      finished[g] = sorted(finished[g], reverse=True)[:width]
      going[g] = [o for o in options if o[0][-1] != EOS][:width]
      used += [text[-1] for text, _ in going[g]]
  return finished


@pytest.mark.parametrize('groups, width', [(2, 2), (3, 1), (2, 3)])
def test_diverse_groups_equal_the_papers_algorithm(groups, width):
  for seed in range(3):
    logp = log_softmax(table(seed))
    want = diverse(logp, 1, groups, width, 0.8, 5)
    flat = sorted((h for g in want for h in g), reverse=True)
    found = toys.write(
      beam.Strategy(
        num_beams=groups * width,
        num_groups=groups,
        num_best=groups * width,
        diversity_penalty=0.8,
        early_stopping='never',
        length_penalty=1.0,
      ),
      toys.markov(table(seed)),
      [[1]],
      new=5,
      rules=Rules(eos_ids=(EOS,), pad_id=0),
    )
    texts = [
      tuple(t[:n].tolist())
      for t, n in zip(found['tokens'], found['lengths'], strict=True)
    ]
    assert texts == [t for _, t in flat]
    np.testing.assert_allclose(found['scores'], [s for s, _ in flat], atol=1e-5)


def test_groups_without_penalty_are_equal():
  found = toys.write(
    beam.Strategy(num_beams=4, num_groups=2, num_best=4),
    toys.markov(table(0)),
    [[0]],
    new=4,
  )
  texts = [tuple(t) for t in found['tokens'].tolist()]
  assert len(set(texts)) == 2


def test_drawn_beams_are_distributed_as_draws_without_replacement():
  # With one step, the beams are the first draws of an urn.
  logits = table(0)
  p = np.exp(log_softmax(logits))[0, 2]
  n = 20_000
  found = toys.write(
    beam.Strategy(num_beams=2, num_best=2, sample=True, length_penalty=0.0),
    toys.markov(logits),
    np.full((n, 1), 2),
    new=1,
  )
  tokens = found['tokens'].reshape(n, 2)
  counts = np.bincount(tokens.min(1) * V + tokens.max(1), minlength=V * V)
  expected = np.zeros((V, V))
  for a, b in itertools.permutations(range(V), 2):
    expected[min(a, b), max(a, b)] += p[a] * p[b] / (1 - p[a])
  assert toys.chi_square(counts, n * expected.ravel()) > 1e-3


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'num_beams': 0}, 'num_beams'),
    ({'num_best': 9}, 'num_best'),
    ({'num_groups': 3}, 'must divide'),
    ({'early_stopping': 'soon'}, 'never'),
  ],
)
def test_mistakes(options, wanted):
  with pytest.raises(UserError, match=wanted):
    plugins.build('decoding.strategies', {'name': 'beam', **options})
