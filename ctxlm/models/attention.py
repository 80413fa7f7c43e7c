"""Scaled dot-product attention, as pure functions of arrays.

softmax(Q K^T / sqrt(d) + bias) V (Vaswani et al. 2017, equation 1), with
grouped key/value heads (Ainslie et al. 2023, arXiv:2305.13245). Letters: b
batch, q and k lengths, h heads, g key/value heads, r = h / g, d head size.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ctxlm.models import ring, splash
from ctxlm.parallel import layout

MASKED = -1e30  # finite, so that a row with nothing to see gives no NaN
BLOCK = 128  # least queries of a block, see attention
BACKENDS = ('auto', 'xla', 'cudnn', 'splash', 'ring')


class Unsupported(ValueError):
  """A backend was asked for what it can't do."""


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

  >>> make_mask(2, 3, causal=True)[0, 0].astype(int).tolist()
  [[1, 1, 0], [1, 1, 1]]
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

  >>> q = k = jnp.zeros((1, 2, 1, 4))
  >>> attention_weights(q, k, mask=make_mask(2, 2, causal=True)).tolist()
  [[[[1.0, 0.0], [0.5, 0.5]]]]
  """
  return jax.nn.softmax(_scores(q, k, bias, mask, scale), axis=-1)


def _scores(q, k, bias, mask, scale):
  b, length, h, d = q.shape
  g = k.shape[2]
  scale = d**-0.5 if scale is None else scale
  q = (q * scale).reshape(b, length, g, h // g, d)
  scores = jnp.einsum(
    'bqgrd,bkgd->bgrqk', q, k, preferred_element_type=jnp.float32
  ).reshape(b, h, length, k.shape[1])
  if bias is not None:
    scores = scores + bias
  return scores if mask is None else jnp.where(mask, scores, MASKED)


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
  before=None,
  backend='auto',
):
  """Returns attention's output [b, q, h, d].

  Args:
    q: [b, q, h, d].
    k, v: [b, k, g, d]; h is a multiple of g.
    bias: float, broadcastable to [b, h, q, k], added to the scaled scores.
    mask, causal, window, q_segment_ids, kv_segment_ids, prefix: see
      make_mask.
    dropout: None, or `dropout(weights, first)`, which drops and scales single
      weights. It is given the parts [b, h, q', k'] of the weights that begin
      at query and key `first` = (int, int), before their division by the sum.
    scale: None is 1 / sqrt(d).
    before: keys and values [n, g, d] that every query sees, whatever is
      masked, without a bias; they come before the others. None is none.
    backend: 'xla'; 'cudnn', fused on GPU, in half precision; 'splash', Pallas
      on TPU; 'auto' takes the fused one where it can do what is asked. Where a
      mesh cuts rows, these have whole rows of some heads, if there are as many
      heads as devices, else keys and values are gathered; 'ring' sends keys
      around, see ctxlm.models.ring, and is 'auto' where rows are whole.

  Raises:
    Unsupported: the backend can't do what is asked.

  >>> q = k = jnp.zeros((1, 2, 1, 4))
  >>> v = jnp.array([[[[2.0]], [[4.0]]]])
  >>> attention(q, k, v, causal=True).tolist()
  [[[[2.0]], [[3.0]]]]
  """
  seen = dict(
    mask=mask,
    causal=causal,
    window=window,
    q_segment_ids=q_segment_ids,
    kv_segment_ids=kv_segment_ids,
    prefix=prefix,
  )
  if before is not None:
    mask = make_mask(q.shape[1], k.shape[1], **seen)
    k, v, bias, mask = with_before(before, k, v, bias, mask)
    causal, window, prefix = False, None, None
    q_segment_ids = kv_segment_ids = None
    seen = dict.fromkeys(seen) | dict(mask=mask, causal=False)
  if backend == 'ring' and layout.devices(layout.PLACES) > 1:
    asked = bias, mask, prefix, dropout
    return _ring(q, k, v, q_segment_ids, causal, window, scale, asked)
  q, k, v = _by_heads(q, k, v)
  out = _of_whole_rows(q, k, v, bias, seen, dropout, scale, backend)
  return layout.by_parts(out)


def _of_whole_rows(q, k, v, bias, seen, dropout, scale, backend):
  mask, prefix, window = seen['mask'], seen['prefix'], seen['window']
  q_segment_ids, kv_segment_ids = seen['q_segment_ids'], seen['kv_segment_ids']
  causal = seen['causal']
  backend = _choose(backend, q, k, bias, mask, prefix, dropout)
  if backend == 'splash':
    scale = q.shape[3] ** -0.5 if scale is None else scale
    return splash.attention(
      q * scale, k, v, q_segment_ids, kv_segment_ids, causal, window
    )
  if backend == 'cudnn':
    return _cudnn(q, k, v, bias, seen, scale)
  ahead = k.shape[1] - q.shape[1]
  if not causal or prefix is not None or ahead < 0:
    return _xla(q, k, v, bias, seen, dropout, scale, (0, 0))
  # What is masked for a whole block of queries is never computed: with four
  # blocks that is 3/8 of a causal attention, with two (length 256) 1/4. More
  # blocks made the products too small to gain anything on a CPU.
  count = min(max(q.shape[1] // BLOCK, 1), 4)
  ends = [q.shape[1] * (i + 1) // count for i in range(count)]
  outs, start = [], 0
  for end in ends:
    queries = slice(start, end)
    first = 0 if window is None else max(start + ahead - window + 1, 0)
    keys = slice(first, end + ahead)
    part = seen | dict(
      mask=_cut(mask, queries, keys),
      q_segment_ids=_cut_row(q_segment_ids, queries),
      kv_segment_ids=_cut_row(kv_segment_ids, keys),
    )
    outs.append(
      _xla(
        q[:, queries],
        k[:, keys],
        v[:, keys],
        _cut(bias, queries, keys),
        part,
        dropout,
        scale,
        (start, first),
      )
    )
    start = end
  return jnp.concatenate(outs, axis=1)


def _by_heads(q, k, v):
  # Rows that several devices have parts of become whole, of some heads each.
  parts, count = layout.devices(layout.PLACES), layout.devices(layout.HEADS)
  if parts == 1 or q.shape[2] % count:
    return q, k, v
  g, most = k.shape[2], q.shape[2] // k.shape[2]
  times = next(n for n in range(1, most + 1) if not (most % n or g * n % count))
  if times > 1:  # as often as it takes; XLA would gather the few that there are
    k, v = (layout.by_parts(jnp.repeat(x, times, axis=2)) for x in (k, v))
  return tuple(map(layout.by_heads, (q, k, v)))


def _ring(q, k, v, ids, causal, window, scale, asked):
  b, length, h, d = q.shape
  parts = layout.devices(layout.PLACES) * (2 if causal else 1)
  even = b % layout.devices(layout.ROWS) == 0 and length % parts == 0
  even &= k.shape[2] % layout.devices(('tensor',)) == 0
  if not even or k.shape[1] != length or any(x is not None for x in asked):
    raise Unsupported(
      'backend ring takes no bias, mask, prefix or dropout, as many queries as '
      f'keys, a multiple of {parts} here, and rows and heads that the mesh '
      'divides'
    )
  if ids is None:
    ids = jnp.zeros((b, length), jnp.int32)
  where = P(layout.ROWS, layout.PLACES, 'tensor')
  run = jax.shard_map(
    functools.partial(ring.attention, causal=causal, window=window),
    in_specs=(where, where, where, P(layout.ROWS, layout.PLACES)),
    out_specs=where,
    check_vma=False,
  )
  return run(q * (d**-0.5 if scale is None else scale), k, v, ids)


def with_before(before, k, v, bias, mask, kept=False):
  """Returns (k, v, bias, mask) with keys and values in front; see attention.

  Args:
    before: keys and values [n, g, d].
    k, v, bias, mask: see attention.
    kept: whether k and v lie as those of attention_to_kept.
  """
  n, size = len(before[0]), v.shape[2 if kept else 1]

  def in_front(x, value):
    x = jnp.broadcast_to(x, (*x.shape[:-1], size))
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(n, 0)], constant_values=value)

  def of_each_row(x, y):
    return jnp.broadcast_to(x.astype(y.dtype), (len(y), *x.shape))

  orders, axes = ((0, 1, 2),) * 2, (1, 1)
  if kept:
    orders, axes = ((1, 2, 0), (1, 0, 2)), (3, 2)
  k, v = (
    jnp.concatenate([of_each_row(x.transpose(order), y), y], axis)
    for x, y, order, axis in zip(before, (k, v), orders, axes)
  )
  bias = None if bias is None else in_front(bias, 0)
  return k, v, bias, None if mask is None else in_front(mask, True)


def attention_to_kept(q, k, v, *, bias=None, mask=None, scale=None):
  """Returns attention's output [b, q, h, d] of few queries to many kept keys.

  Nothing of the size of the keys is copied: each product takes its operands
  as they lie. So they lie differently from those of `attention`.

  Args:
    q: [b, q, h, d].
    k: [b, g, d, k]; v: [b, g, k, d]; h is a multiple of g.
    bias, mask, scale: see attention_weights.
  """
  b, length, h, d = q.shape
  g, size = v.shape[1:3]
  scale = d**-0.5 if scale is None else scale
  q = (q * scale).swapaxes(1, 2).reshape(b, g, -1, d)
  scores = jnp.matmul(q, k, preferred_element_type=jnp.float32)
  scores = scores.reshape(b, h, length, size)
  if bias is not None:
    scores = scores + bias
  if mask is not None:
    scores = jnp.where(mask, scores, MASKED)
  weights = jnp.exp(scores - scores.max(-1, keepdims=True))
  total = weights.sum(-1)[..., None]
  weights = weights.astype(v.dtype).reshape(b, g, -1, size)
  out = jnp.matmul(weights, v, preferred_element_type=jnp.float32)
  out = (out.reshape(b, h, length, d) / total).astype(v.dtype)
  return out.swapaxes(1, 2)


def _cut(x, queries, keys):
  # The part of an array that is broadcastable to [b, h, q, k].
  if x is None:
    return None
  x = jnp.asarray(x)
  x = x.reshape((1,) * (4 - x.ndim) + x.shape)
  x = x if x.shape[2] == 1 else x[:, :, queries]
  return x if x.shape[3] == 1 else x[:, :, :, keys]


def _cut_row(x, places):
  return None if x is None else x[:, places]


def _xla(q, k, v, bias, seen, dropout, scale, first):
  b, length, h, d = q.shape
  g = k.shape[2]
  mask = make_mask(length, k.shape[1], **seen)
  scores = _scores(q, k, bias, mask, scale)
  # softmax(S) V = exp(S - max) V / sum: dividing the output, which is smaller
  # than the weights, is a quarter of a CPU's time for attention saved.
  top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = weights.sum(-1)  # of all, as dropout follows the softmax
  if dropout is not None:
    weights = dropout(weights, first)
  out = jnp.einsum(
    'bgrqk,bkgd->bqgrd',
    weights.astype(v.dtype).reshape(b, g, h // g, length, -1),
    v,
    preferred_element_type=jnp.float32,
  ).reshape(b, length, h, v.shape[3])
  return (out / total.swapaxes(1, 2)[..., None]).astype(v.dtype)


def _cudnn(q, k, v, bias, seen, scale):
  # cuDNN's own causal mask and window save work; they align the first query
  # with the first key, so they serve equal lengths only.
  causal = seen['causal'] and seen['prefix'] is None
  causal &= q.shape[1] == k.shape[1]
  window = seen['window'] if causal else None
  if causal:
    seen = seen | dict(causal=False, window=None)
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    None if bias is None else bias.astype(q.dtype),
    make_mask(q.shape[1], k.shape[1], **seen),
    scale=scale,
    is_causal=causal,
    local_window_size=None if window is None else (window - 1, 0),
    implementation='cudnn',
  )


def _choose(backend, q, k, bias, mask, prefix, dropout):
  if backend not in BACKENDS:
    raise ValueError(f'backend must be one of {BACKENDS}, not {backend!r}')
  lengths, d = (q.shape[1], k.shape[1]), q.shape[3]
  whole = (
    all(x is None for x in (bias, mask, prefix, dropout))
    and all(length % 128 == 0 for length in lengths)
    and d % 64 == 0
    and splash.cut_evenly(q.shape[0], q.shape[2])
  )
  cudnn = (
    layout.platform() == 'gpu'
    and dropout is None
    and q.dtype in (jnp.bfloat16, jnp.float16)
    and all(length % 2 == 0 for length in lengths)
    and d % 8 == 0
    and d <= 128
  )
  if backend == 'splash' and not whole:
    raise Unsupported(
      'backend splash takes no bias, mask, prefix or dropout, lengths in steps '
      'of 128, head sizes in steps of 64, rows and heads that a mesh divides'
    )
  if backend == 'cudnn' and not cudnn:
    raise Unsupported(
      'backend cudnn takes a GPU, half precision, no dropout, even lengths and '
      'head sizes up to 128 that are multiples of 8'
    )
  if backend not in ('auto', 'ring'):
    return backend
  if layout.platform() == 'tpu' and whole:
    return 'splash'
  # A bias that is learned (T5) needs a gradient that cuDNN lacks for some
  # shapes, so it is left to those who ask for cuDNN by name.
  if cudnn and bias is None:
    return 'cudnn'
  return 'xla'
