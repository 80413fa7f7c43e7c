"""Position schemes against their formulas and the reference code."""

import numpy as np
import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama import modeling_llama
from transformers.models.t5.modeling_t5 import T5Attention

from ctxlm.models import positions as lib


def test_sinusoidal_equals_formula():
  out = lib.sinusoidal(np.array([[0, 3, 50]]), 6)
  for place, p in enumerate([0, 3, 50]):
    for i in range(3):
      angle = p / 10000 ** (2 * i / 6)
      assert out[0, place, 2 * i] == pytest.approx(np.sin(angle), abs=1e-5)
      assert out[0, place, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-5)


def test_rotary_equals_llama():
  x = np.random.default_rng(0).normal(size=(2, 5, 3, 8)).astype(np.float32)
  positions = np.array([[0, 1, 2, 3, 4], [7, 8, 0, 1, 500]])
  rate = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
  angle = torch.tensor(positions)[..., None] * rate
  angle = torch.cat([angle, angle], -1)
  theirs, _ = modeling_llama.apply_rotary_pos_emb(
    torch.tensor(x), torch.tensor(x), angle.cos(), angle.sin(), unsqueeze_dim=2
  )
  np.testing.assert_allclose(lib.rotary(x, positions), theirs, atol=1e-4)


def test_rotary_scores_depend_on_distance_only():
  rng = np.random.default_rng(1)
  q, k = rng.normal(size=(2, 1, 1, 1, 16)).astype(np.float32)

  def score(a, b):
    a, b = np.array([[a]]), np.array([[b]])
    return float((lib.rotary(q, a) * lib.rotary(k, b)).sum())

  assert score(5, 2) == pytest.approx(score(105, 102), abs=1e-4)
  assert score(5, 2) != pytest.approx(score(5, 3), abs=1e-3)


@pytest.mark.parametrize('heads', [1, 4, 6, 8, 12])
def test_alibi_equals_bloom(heads):
  # Bloom's bias is slope * key, which differs from ours by a constant a query.
  bias = np.asarray(lib.alibi(heads, lib.relative(7, 7)))
  theirs = build_alibi_tensor(torch.ones(1, 7), heads, torch.float32)
  theirs = theirs.reshape(heads, 1, 7).numpy()
  for t in range(7):
    ours = bias[:, t, : t + 1] - bias[:, t, :1]
    np.testing.assert_allclose(ours, theirs[:, 0, : t + 1], atol=1e-6)


def test_alibi_is_symmetric_and_aligned_at_the_end():
  bias = np.asarray(lib.alibi(4, lib.relative(6, 6)))
  np.testing.assert_array_equal(bias, bias.swapaxes(1, 2))
  last = np.asarray(lib.alibi(4, lib.relative(2, 6)))
  np.testing.assert_array_equal(last, bias[:, 4:])


@pytest.mark.parametrize('bidirectional', [True, False])
@pytest.mark.parametrize('buckets, most', [(32, 128), (8, 20)])
def test_t5_buckets_equal_t5(bidirectional, buckets, most):
  ours = lib.t5_buckets(
    lib.relative(200, 200),
    bidirectional=bidirectional,
    num_buckets=buckets,
    max_distance=most,
  )
  distance = torch.arange(200)[None] - torch.arange(200)[:, None]
  theirs = T5Attention._relative_position_bucket(
    distance, bidirectional, buckets, most
  )
  np.testing.assert_array_equal(ours, theirs)
