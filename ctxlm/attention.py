"""Scaled dot-product attention, as pure functions of arrays.

softmax(Q K^T / sqrt(d) + bias) V (Vaswani et al. 2017, equation 1), with
grouped key/value heads (Ainslie et al. 2023, arXiv:2305.13245). Letters: b
batch, q and k lengths, h heads, g key/value heads, r = h / g, d head size.
"""

import functools

import jax
import jax.numpy as jnp

MASKED = -1e30  # finite, so that a row with nothing to see gives no NaN
BACKENDS = ('auto', 'xla', 'cudnn', 'splash')


def make_mask(
  q_length,
  k_length,
  *,
  mask=None,
  causal=False,
  window=None,
  q_segment_ids=None,
  kv_segment_ids=None,
  prefix=None,
):
  """Returns which keys each query sees: bool [b or 1, 1, q, k], or None.

  Args:
    q_length, k_length: lengths; the last query is aligned with the last key.
    mask: bool, broadcastable to [b, h, q, k]; True is seen.
    causal: whether a query sees no later key.
    window: a query sees keys less than this many places away; None is all.
    q_segment_ids, kv_segment_ids: int [b, q], [b, k]; a query sees its own
      segment only.
    prefix: bool [b, k]; keys that all of their segment see, although causal.
  """
  seen = None

  def both(a, b):
    return b if a is None else a & b

  distance = (
    jnp.arange(q_length)[:, None]
    + (k_length - q_length)
    - jnp.arange(k_length)[None]
  )
  if causal:
    seen = (distance >= 0)[None, None]
    if prefix is not None:
      seen = seen | prefix[:, None, None, :]
  if window is not None:
    seen = both(seen, (jnp.abs(distance) < window)[None, None])
  if q_segment_ids is not None:
    same = q_segment_ids[:, None, :, None] == kv_segment_ids[:, None, None, :]
    seen = both(seen, same)
  return seen if mask is None else both(seen, mask)


def attention_weights(q, k, *, bias=None, mask=None, scale=None):
  """Returns the softmax over keys, float32 [b, h, q, k].

  Args:
    q: [b, q, h, d].
    k: [b, k, g, d]; h is a multiple of g.
    bias: float, broadcastable to [b, h, q, k].
    mask: bool, broadcastable to [b, h, q, k].
    scale: of the scores; None is 1 / sqrt(d).
  """
  b, length, h, d = q.shape
  g = k.shape[2]
  scale = d**-0.5 if scale is None else scale
  q = (q * scale).reshape(b, length, g, h // g, d)
  scores = jnp.einsum(
    'bqgrd,bkgd->bgrqk', q, k, preferred_element_type=jnp.float32
  ).reshape(b, h, length, k.shape[1])
  if bias is not None:
    scores = scores + bias
  if mask is not None:
    scores = jnp.where(mask, scores, MASKED)
  return jax.nn.softmax(scores, axis=-1)


def _values(weights, v):
  b, h, q, k = weights.shape
  g = v.shape[2]
  weights = weights.astype(v.dtype).reshape(b, g, h // g, q, k)
  out = jnp.einsum('bgrqk,bkgd->bqgrd', weights, v)
  return out.reshape(b, q, h, v.shape[3])


def attention(
  q,
  k,
  v,
  *,
  bias=None,
  mask=None,
  causal=False,
  window=None,
  q_segment_ids=None,
  kv_segment_ids=None,
  prefix=None,
  dropout=None,
  scale=None,
  backend='auto',
):
  """Returns attention's output [b, q, h, d].

  Args:
    q: [b, q, h, d].
    k, v: [b, k, g, d]; h is a multiple of g.
    bias: float, broadcastable to [b, h, q, k], added to the scaled scores.
    mask, causal, window, q_segment_ids, kv_segment_ids, prefix: see
      make_mask.
    dropout: function of the weights [b, h, q, k], or None.
    scale: None is 1 / sqrt(d).
    backend: 'xla'; 'cudnn', fused on GPU, in half precision; 'splash', Pallas
      on TPU; 'auto' takes the fused one where it can do what is asked.

  Raises:
    ValueError: the backend can't do what is asked.
  """
  fused = _fused(backend, q, bias, mask, prefix, dropout)
  if fused == 'splash':
    return _splash(
      q, k, v, causal, window, q_segment_ids, kv_segment_ids, scale
    )
  seen = make_mask(
    q.shape[1],
    k.shape[1],
    mask=mask,
    causal=causal and (fused != 'cudnn' or prefix is not None),
    window=window if fused != 'cudnn' or not causal else None,
    q_segment_ids=q_segment_ids,
    kv_segment_ids=kv_segment_ids,
    prefix=prefix,
  )
  if fused == 'cudnn':
    if bias is not None:
      bias = bias.astype(q.dtype)
    return jax.nn.dot_product_attention(
      q,
      k,
      v,
      bias,
      seen,
      scale=scale,
      is_causal=causal and prefix is None,
      local_window_size=None
      if window is None or not causal
      else (window - 1, 0),
      implementation='cudnn',
    )
  weights = attention_weights(q, k, bias=bias, mask=seen, scale=scale)
  if dropout is not None:
    weights = dropout(weights)
  return _values(weights, v)


def _fused(backend, q, bias, mask, prefix, dropout):
  if backend not in BACKENDS:
    raise ValueError(f'backend must be one of {BACKENDS}, not {backend!r}')
  splash = (
    bias is None
    and mask is None
    and prefix is None
    and dropout is None
    and q.shape[1] % 128 == 0
    and q.shape[3] % 64 == 0
  )
  cudnn = dropout is None and q.dtype in (jnp.bfloat16, jnp.float16)
  if backend == 'auto':
    platform = jax.default_backend()
    if platform == 'tpu' and splash:
      return 'splash'
    if platform == 'gpu' and cudnn:
      return 'cudnn'
    return 'xla'
  if backend == 'splash' and not splash:
    raise ValueError(
      'backend splash takes no bias, mask, prefix or dropout, lengths that are '
      'multiples of 128 and head sizes that are multiples of 64'
    )
  if backend == 'cudnn' and not cudnn:
    raise ValueError('backend cudnn takes half precision and no dropout')
  return backend


@functools.lru_cache
def _splash_kernel(heads, q_length, k_length, causal, window, interpret):
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
  )
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as masks,
  )

  shape = q_length, k_length
  if window is not None:
    right = 0 if causal else window - 1
    one = masks.LocalMask(shape, (window - 1, right), k_length - q_length)
  elif causal:
    one = masks.CausalMask(shape, k_length - q_length)
  else:
    one = masks.FullMask(shape)
  # Constants of the mask must not be traced: the kernel is kept.
  with jax.ensure_compile_time_eval():
    return kernel.make_splash_mha(
      masks.MultiHeadMask([one] * heads),
      head_shards=1,
      q_seq_shards=1,
      interpret=interpret,
    )


def _splash(q, k, v, causal, window, q_segment_ids, kv_segment_ids, scale):
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
  )

  h, g = q.shape[2], k.shape[2]
  scale = q.shape[3] ** -0.5 if scale is None else scale
  run = _splash_kernel(
    h, q.shape[1], k.shape[1], causal, window, jax.default_backend() != 'tpu'
  )
  q, k, v = (x.swapaxes(1, 2) for x in (q * scale, k, v))
  k, v = (jnp.repeat(x, h // g, axis=1) for x in (k, v))
  if q_segment_ids is None:
    out = jax.vmap(run)(q, k, v)
  else:
    ids = kernel.SegmentIds(q_segment_ids, kv_segment_ids)
    out = jax.vmap(run)(q, k, v, ids)
  return out.swapaxes(1, 2).astype(v.dtype)
