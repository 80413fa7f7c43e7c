"""Splash attention, the Pallas kernel for TPUs, on one device or a mesh."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ctxlm.parallel import layout


def cut_evenly(batch_size, num_heads):
  """Returns whether each device of the mesh can have its own rows and heads."""
  return (
    batch_size % layout.devices(layout.ROWS) == 0
    and num_heads % layout.devices(layout.HEADS) == 0
  )


def attention(q, k, v, q_segment_ids, kv_segment_ids, causal, window):
  """Returns attention's output [b, q, h, d]; see ctxlm.models.attention.

  Args:
    q: [b, q, h, d], scaled.
    k, v: [b, k, g, d]; h is a multiple of g.
    q_segment_ids, kv_segment_ids: int [b, q], [b, k], or None.
    causal, window: see ctxlm.models.attention.make_mask.
  """
  from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

  h, g = q.shape[2], k.shape[2]
  k, v = (jnp.repeat(x, h // g, axis=2) for x in (k, v))

  def local(q, k, v, q_ids, kv_ids):
    # Devices that are not here can hold no constants.
    here = layout.platform() == jax.default_backend()
    run = (_kept_kernel if here else _kernel)(
      q.shape[2],
      q.shape[1],
      k.shape[1],
      causal,
      window,
      layout.platform() != 'tpu',
    )
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    if q_ids is None:
      out = jax.vmap(run)(q, k, v)
    else:
      out = jax.vmap(run)(q, k, v, SegmentIds(q_ids, kv_ids))
    return out.swapaxes(1, 2).astype(v.dtype)

  if jax.sharding.get_abstract_mesh().auto_axes:
    # XLA can't cut a Pallas kernel over a mesh by itself.
    rows, heads = P(layout.ROWS), P(layout.ROWS, None, layout.HEADS)
    local = jax.shard_map(
      local,
      in_specs=(heads, heads, heads, rows, rows),
      out_specs=heads,
      check_vma=False,
    )
  return local(q, k, v, q_segment_ids, kv_segment_ids)


@functools.lru_cache
def _kept_kernel(*args):
  # Constants of the mask must not be traced: the kernel is kept.
  with jax.ensure_compile_time_eval():
    return _kernel(*args)


def _kernel(heads, q_length, k_length, causal, window, interpret):
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
  return kernel.make_splash_mha(
    masks.MultiHeadMask([one] * heads),
    head_shards=1,
    q_seq_shards=1,
    interpret=interpret,
  )
