import itertools

import numpy as np
import torch

from ctxlm.evaluators import alignment


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
