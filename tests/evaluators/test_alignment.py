import itertools
import types

import numpy as np
import pytest
import torch

from ctxlm.evaluators import alignment
from ctxlm.objectives.contrastive import Objective


def unit(seed, n=12, m=5):
  x = np.random.default_rng(seed).normal(size=(n, m))
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_alignment_and_uniformity_equal_the_papers_torch_code():
  """Wang & Isola 2020, figure 5: two lines of PyTorch."""
  x, y = unit(0), unit(1)
  a, b = torch.tensor(x), torch.tensor(y)
  want = (a - b).norm(dim=1).pow(2).mean()
  np.testing.assert_allclose(alignment.alignment(x, y), want)
  want = torch.pdist(a, p=2).pow(2).mul(-2).exp().mean().log()
  np.testing.assert_allclose(alignment.uniformity(x), want)


def test_uniformity_is_over_pairs_of_different_examples():
  x = unit(2, n=4)
  pairs = [
    np.exp(-2 * ((x[i] - x[j]) ** 2).sum())
    for i, j in itertools.combinations(range(4), 2)
  ]
  np.testing.assert_allclose(alignment.uniformity(x), np.log(np.mean(pairs)))


@pytest.mark.parametrize('count, want', [(10, -3.886), (100, -3.873)])
def test_no_positive_is_a_pair_of_uniformity(tokenizer, count, want):
  """Perfectly aligned random vectors: those of equation 3, and no zeros."""
  found = judged(tokenizer, unit(7, count, 512), range(count))
  x = torch.tensor(unit(7, count, 512))
  by_hand = torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log()
  np.testing.assert_allclose(found['uniformity'], by_hand)
  assert found['uniformity'] == pytest.approx(want, abs=0.15)
  assert found['alignment'] == 0.0 and found['retrieval_at_1'] == 1.0


def test_an_equal_answer_is_as_right(tokenizer):
  """Sixteen questions, four answers, and a perfect encoder."""
  answers = [i % 4 for i in range(16)]
  found = judged(tokenizer, unit(7, 4)[answers], answers)
  assert found['retrieval_at_1'] == 1.0


def judged(tokenizer, vectors, answers):
  """Returns what `run` says of pairs of which both have the same vector."""
  records = [
    {
      'text_a': f'{10 + i % 9} {10 + i // 9}',
      'text_b': f'{20 + a % 9} {20 + a // 9}',
    }
    for i, a in enumerate(answers)
  ]
  objective = Objective(fields=2, tokenizer=tokenizer, max_length=6)
  task = types.SimpleNamespace(objective=objective, name='t')
  bench = types.SimpleNamespace(
    enough=lambda count: False,
    task=lambda name: task,
    view=lambda task, split: Records(records),
    vectors=lambda task, rows: np.repeat(vectors, 2, axis=0),
  )
  return alignment.Evaluator().run(bench)


class Records(list):
  """A view of a list."""

  def read(self, i, rng):
    """Returns record i."""
    return self[i]
