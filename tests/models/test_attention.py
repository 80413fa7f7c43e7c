"""Attention against softmax(QK^T/sqrt(d) + bias) V in numpy, and torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.test_util import check_grads

from ctxlm.models import attention as lib


def draw(seed, b=2, q=6, k=6, h=4, g=4, d=8):
  rng = np.random.default_rng(seed)
  shapes = (b, q, h, d), (b, k, g, d), (b, k, g, d)
  return [rng.normal(size=s).astype(np.float32) for s in shapes]


def by_hand(q, k, v, seen, bias=0.0, scale=None):
  """Loops over examples, heads and queries; seen: bool [b, h, q, k]."""
  b, length, h, d = q.shape
  out = np.zeros_like(q, dtype=np.float64)
  bias = np.broadcast_to(bias, seen.shape)
  for i in range(b):
    for head in range(h):
      group = head // (h // k.shape[2])
      for t in range(length):
        keys = np.flatnonzero(seen[i, head, t])
        scores = [
          q[i, t, head] @ k[i, s, group] * (scale or d**-0.5)
          + bias[i, head, t, s]
          for s in keys
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        out[i, t, head] = sum(
          w * v[i, s, group] for w, s in zip(weights, keys, strict=True)
        )
  return out


def test_equals_formula():
  q, k, v = draw(0, k=9)
  bias = np.random.default_rng(1).normal(size=(1, 4, 6, 9))
  mask = np.random.default_rng(2).random((2, 1, 6, 9)) < 0.7
  mask[..., 0] = True
  seen = np.broadcast_to(mask, (2, 4, 6, 9))
  out = lib.attention(q, k, v, bias=bias, mask=mask, scale=0.3)
  np.testing.assert_allclose(out, by_hand(q, k, v, seen, bias, 0.3), atol=1e-5)
  weights = lib.attention_weights(q, k, bias=bias, mask=mask, scale=0.3)
  np.testing.assert_allclose(
    np.einsum('bhqk,bkhd->bqhd', weights, v), out, atol=1e-5
  )


@pytest.mark.parametrize('length', [7, 256, 600])  # 1, 2 and 4 blocks
@pytest.mark.parametrize('window', [None, 3, 300])
def test_causal_window_and_segments(length, window):
  q, k, v = draw(3, b=1, q=length, k=length, h=2, g=1, d=4)
  segments = np.sort(np.random.default_rng(4).integers(1, 4, (1, length)))
  t, s = np.arange(length)[:, None], np.arange(length)[None]
  seen = (s <= t) & (segments[0][:, None] == segments[0][None])
  if window:
    seen &= t - s < window
  out = lib.attention(
    q,
    k,
    v,
    causal=True,
    window=window,
    q_segment_ids=segments,
    kv_segment_ids=segments,
  )
  seen = np.broadcast_to(seen, (1, 2, length, length))
  np.testing.assert_allclose(out, by_hand(q, k, v, seen), atol=1e-5)


def test_blocks_cut_bias_and_mask():
  q, k, v = draw(5, b=2, q=256, k=300, h=2, g=2, d=4)
  rng = np.random.default_rng(6)
  bias = rng.normal(size=(1, 2, 256, 300)).astype(np.float32)
  mask = rng.random((2, 1, 256, 300)) < 0.9
  causal = np.arange(300)[None] <= np.arange(256)[:, None] + 44
  mask |= np.eye(256, 300, 44, dtype=bool)
  for one, two in [(bias, mask), (bias[:, :, :1], mask[:, :, :, :1] | True)]:
    seen = np.broadcast_to(two & causal, (2, 2, 256, 300))
    out = lib.attention(q, k, v, bias=one, mask=two, causal=True)
    np.testing.assert_allclose(out, by_hand(q, k, v, seen, one), atol=1e-5)


def test_prefix_is_seen_by_its_segment():
  prefix = np.zeros((1, 6), bool)
  prefix[0, [0, 1, 3]] = True
  segments = np.array([[1, 1, 1, 2, 2, 2]])
  seen = lib.make_mask(
    6,
    6,
    causal=True,
    prefix=prefix,
    q_segment_ids=segments,
    kv_segment_ids=segments,
  )[0, 0]
  wanted = [
    [1, 1, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [1, 1, 1, 0, 0, 0],
    [0, 0, 0, 1, 0, 0],
    [0, 0, 0, 1, 1, 0],
    [0, 0, 0, 1, 1, 1],
  ]
  np.testing.assert_array_equal(seen, np.array(wanted, bool))


def test_grouped_heads_equal_repeated_heads():
  q, k, v = draw(7, h=6, g=2)
  repeated = [np.repeat(x, 3, axis=2) for x in (k, v)]
  np.testing.assert_allclose(
    lib.attention(q, k, v), lib.attention(q, *repeated), atol=1e-6
  )


def test_value_and_gradient_equal_torch():
  inputs = draw(8, q=256, k=256, h=2, g=2)
  weight = np.random.default_rng(9).normal(size=(2, 256, 2, 8))

  def total(*x):
    return (lib.attention(*x, causal=True) * weight).sum()

  grads = jax.grad(total, argnums=(0, 1, 2))(*inputs)
  tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
  out = torch.nn.functional.scaled_dot_product_attention(
    *(x.transpose(1, 2) for x in tensors), is_causal=True
  ).transpose(1, 2)
  (out * torch.tensor(weight)).sum().backward()
  for ours, theirs in zip(grads, tensors, strict=True):
    np.testing.assert_allclose(ours, theirs.grad, atol=2e-5)


def test_gradient_equals_finite_differences():
  q, k, v = draw(10, b=1, q=3, k=3, h=2, g=1, d=2)
  function = jax.jit(functools.partial(lib.attention, causal=True))
  check_grads(function, (q, k, v), order=2, rtol=0.02)


def test_row_that_sees_nothing_is_finite():
  q, k, v = draw(11)
  mask = np.zeros((1, 1, 6, 6), bool)
  out, grads = jax.value_and_grad(
    lambda q: lib.attention(q, k, v, mask=mask).sum()
  )(q)
  assert np.isfinite(out)
  assert np.isfinite(grads).all()


def test_large_scores_in_half_precision_are_finite():
  q, k, v = (jnp.asarray(x * 100, jnp.bfloat16) for x in draw(12))
  out = lib.attention(q, k, v, causal=True)
  assert out.dtype == jnp.bfloat16
  assert np.isfinite(np.asarray(out, np.float32)).all()


def test_dropout_applies_to_normalised_weights():
  q, k, v = draw(13, q=256, k=256, h=2, g=2)
  keep = np.random.default_rng(14).random((2, 2, 256, 256)) < 0.8

  def dropout(weights, first):
    rows = slice(first[0], first[0] + weights.shape[2])
    columns = slice(first[1], first[1] + weights.shape[3])
    return weights * keep[:, :, rows, columns] / 0.8

  mask = lib.make_mask(256, 256, causal=True)
  weights = np.asarray(lib.attention_weights(q, k, mask=mask)) * keep / 0.8
  np.testing.assert_allclose(
    lib.attention(q, k, v, causal=True, dropout=dropout),
    np.einsum('bhqk,bkhd->bqhd', weights, v),
    atol=1e-5,
  )


@pytest.mark.parametrize('causal', [True, False])
@pytest.mark.parametrize('segmented', [True, False])
def test_splash_equals_xla(causal, segmented):
  # Interpreted on a CPU, which runs the same kernel, slowly.
  q, k, v = draw(15, b=2, q=128, k=128, h=2, g=1, d=64)
  ids = np.sort(np.random.default_rng(16).integers(1, 3, (2, 128)))
  ids = ids.astype(np.int32) if segmented else None
  more = dict(causal=causal, q_segment_ids=ids, kv_segment_ids=ids)
  if causal and not segmented:
    more['window'] = 20

  def run(backend):
    return jax.value_and_grad(
      lambda q: (lib.attention(q, k, v, backend=backend, **more) ** 2).sum()
    )(q)

  for a, b in zip(run('splash'), run('xla'), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_refuses_what_a_backend_lacks():
  q, k, v = draw(17)
  with pytest.raises(ValueError, match='must be one of'):
    lib.attention(q, k, v, backend='flash')
  with pytest.raises(ValueError, match='splash takes'):
    lib.attention(q, k, v, backend='splash')
  with pytest.raises(ValueError, match='half precision'):
    lib.attention(q, k, v, backend='cudnn')


def test_single_head_self_attention_equals_torch():
  """Three linear maps and softmax(QK^T/sqrt(d))V; hidden size 512."""
  torch.manual_seed(0)
  maps = [torch.nn.Linear(512, 512) for _ in range(3)]
  x = torch.randn(2, 10, 512)
  q, k, v = (m(x) for m in maps)
  theirs = torch.softmax(q @ k.transpose(1, 2) / 512**0.5, -1) @ v

  def numpy(t):
    return t.detach().numpy()

  q, k, v = (
    (numpy(x) @ numpy(m.weight).T + numpy(m.bias))[:, :, None] for m in maps
  )
  ours = lib.attention(jnp.asarray(q), k, v)[:, :, 0]
  np.testing.assert_allclose(ours, numpy(theirs), atol=1e-5)
