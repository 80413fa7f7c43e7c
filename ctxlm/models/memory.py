"""A Transformer whose layers keep keys and values of what was read before.

Each layer attends to the `memory_length` tokens before the row, without a
gradient to them: Transformer-XL (Dai et al. 2019, arXiv:1901.02860, section
3.2), by rotations in place of its relative positions. Chosen layers look up the
nearest keys of a longer memory too, and a learned gate a head mixes what they
find with the rest: Memorizing Transformers (Wu et al. 2022, arXiv:2203.08913,
section 3.1). It is carried from batch to batch (causal, kind='stream'), and
text is written from it.
"""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import attention, layers, positions, states, transformer
from ctxlm.models import dropout as dropout_lib
from ctxlm.ranges import Count, Range, Whole


class Memory(nn.Module):
  """Attention to a row and to what is kept of the text before it.

  Attributes:
    options: the Model that it is part of.
    layer: which block, from 0.
  """

  options: Any
  layer: int = 0

  @nn.compact
  def __call__(self, x, *, segment_ids=None, rows=None, places=None, **_):
    """Returns [b, l, m] of x [b, l, m].

    With `places` it goes on from the keys and values that are kept, and keeps
    the last ones. Those of an earlier segment are not seen.
    """
    o, (b, l, m) = self.options, x.shape
    groups = o.num_kv_heads or o.num_heads
    q = layers.projection(o, o.num_heads, 'query')(x)
    k = layers.projection(o, groups, 'key')(x)
    v = layers.projection(o, groups, 'value')(x)
    begun = jnp.cumsum(states.begins(x, segment_ids), axis=1)  # [b, l]
    used = jnp.ones((b, l), bool) if segment_ids is None else segment_ids > 0
    nearest = self.layer + 1 in o.looking
    far = o.nearest_memory if nearest else 0
    size = max(o.memory_length, far) if places is not None else 0
    old_k = old_v = jnp.zeros((b, size, *k.shape[2:]), k.dtype)
    there = jnp.zeros((b, size), bool)
    if places is not None:
      kept = [
        self.variable('cache', name, lambda x=x: x)
        for name, x in (('keys', old_k), ('values', old_v), ('there', there))
      ]
      old_k, old_v, there = (x.value for x in kept)
    if l == 0:
      return x
    seen = there[:, None] & (begun == 0)[..., None]  # [b, l, size]
    own = (begun[:, :, None] == begun[:, None]) & used[:, None]
    own &= jnp.tri(l, dtype=bool)
    last = slice(max(size - o.memory_length, 0), None)
    out = self._near(
      q,
      jnp.concatenate([old_k[:, last], k], axis=1),
      jnp.concatenate([old_v[:, last], v], axis=1),
      jnp.concatenate([seen[..., last], own], axis=2),
      rows,
    )
    if nearest:
      gate = self.param('gate', nn.initializers.zeros, (o.num_heads,))
      out = mix_nearest(q, old_k, old_v, seen, gate, out, o.nearest)
    if places is not None:
      whole = used & (begun == begun[:, -1:])
      goes_on = there & (begun[:, -1:] == 0)
      for one, new in zip(
        kept, ((old_k, k), (old_v, v), (goes_on, whole)), strict=True
      ):
        one.value = jnp.concatenate(new, axis=1)[:, l:]
    return layers.joined(o, m)(out)

  def _near(self, q, k, v, mask, rows):
    # Softmax over the row and the last `memory_length` tokens before it.
    o, before = self.options, k.shape[1] - q.shape[1]
    place = jnp.arange(k.shape[1])[None] - before
    q = positions.rotary(q, place[:, before:], o.rotary_base)
    k = positions.rotary(k, place, o.rotary_base)
    dropout = None
    if o.attention_dropout and rows is not None:
      whole = o.num_heads, q.shape[1], k.shape[1]
      dropout = dropout_lib.of_weights(self, rows, o.attention_dropout, whole)
    return attention.attention(
      q, k, v, mask=mask[:, None], dropout=dropout, backend='xla'
    )


def mix_nearest(q, k, v, seen, gate, out, count):
  """Returns g o' + (1 - g) o [b, l, h, d], g = sigmoid(gate) a head.

  o' attends to the `count` nearest keys alone, which have no positions.

  Args:
    q: [b, l, h, d].
    k, v: [b, n, g, d], what is kept.
    seen: bool [b, l, n].
    gate: float32 [h].
    out: [b, l, h, d], o.
    count: keys of a query.
  """
  if not k.shape[1]:
    return out
  h, g = q.shape[2], k.shape[2]
  k, v = (jnp.repeat(x, h // g, axis=2) for x in (k, v))
  scores = jnp.einsum(
    'blhd,bnhd->blhn', q, k, preferred_element_type=jnp.float32
  )
  scores = scores * q.shape[-1] ** -0.5
  scores = jnp.where(seen[:, :, None], scores, attention.MASKED)
  top, at = jax.lax.top_k(scores, min(count, k.shape[1]))
  weights = jax.nn.softmax(top, axis=-1)
  weights = jnp.where(top > attention.MASKED / 2, weights, 0).astype(v.dtype)

  def pick(v, at):  # [n, h, d], [l, h, t] -> [l, h, t, d]
    return jax.vmap(lambda v, at: v[at], (1, 1), 1)(v, at)

  found = jnp.einsum('blht,blhtd->blhd', weights, jax.vmap(pick)(v, at))
  share = nn.sigmoid(gate)[:, None] * seen.any(-1)[..., None, None]
  share = share.astype(out.dtype)
  return share * found + (1 - share) * out


@dataclasses.dataclass(unsafe_hash=True)
class Options(transformer.Options):
  """Options of a Transformer, and of what its layers keep.

  Attributes:
    memory_length: tokens before a row that every layer attends to.
    nearest: keys that a query looks up in the longer memory; 0 is none.
    nearest_memory: tokens of that memory.
    nearest_layers: which layers have it, from 1; none at all is the one in the
      middle.
    position: 'rotary', by which distances alone count.
  """

  position: transformer.Position = 'rotary'
  memory_length: Count = 128
  nearest: Whole = 0
  nearest_memory: Count = 1024
  nearest_layers: Annotated[tuple[int, ...], Range('[1, inf)')] = ()

  def __post_init__(self):
    super().__post_init__()
    if not self.causal:
      raise ValueError('a model that keeps what it has read is causal')
    if self.position != 'rotary':
      raise ValueError("what is kept has no place but in position='rotary'")
    if self.window or self.scan_layers or self.attention_scale:
      raise ValueError('it takes no window, scan_layers or attention_scale')
    self.check_layers('nearest_layers')

  @property
  def kind(self):
    """See transformer.Options."""
    return Options

  @property
  def looking(self):
    """The layers that look up nearest keys."""
    if not self.nearest:
      return ()
    return self.nearest_layers or ((self.num_layers + 1) // 2,)


class Model(Options, states.Decoder, transformer.Model):
  """A Transformer that reads on from what it keeps; see Options."""

  mixer = Memory
  context_length = None  # places are counted from each row's own first token

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)
