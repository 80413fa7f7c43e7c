"""Keys and values that are kept, so that a step computes new tokens only.

A row is padded on its left. Its tokens' places are counted from the padding's
first; a slot of the cache holds the token of one place. With a window, the
slots are a ring: place p is in slot p modulo their number.

Beam search and contrastive search run n siblings of each row, and choose
among them at every step. Copying the cache for that would cost more than the
step. So siblings share the row's slots, each generated place has n, and
`sees` tells whose slot each sibling sees there; choosing changes `sees` only.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.models import attention


class Places(struct.PyTreeNode):
  """What the attention layers need to know of the cache, once a step.

  Attributes:
    slots: how many there are.
    slot: int32 scalar, the first slot to write, or [b, q], each; None in the
      pass over the prompt.
    mask: bool [b, 1, q, slots], what each query sees.
    relative: int32 [b or 1, q, slots], key's place minus query's.
    memory_mask: bool [b, 1, 1, k], what is seen of the encoder; None is all.
  """

  slots: int = struct.field(pytree_node=False)
  slot: Any = None
  mask: Any = None
  relative: Any = None
  memory_mask: Any = None


def write(module, k, v, places):
  """Keeps a layer's new keys and values [b, l, g, d]."""
  for name, x in (('key', k), ('value', v)):
    axis = AXES[name]
    x = x.transpose((0, 2, 3, 1) if axis == 3 else (0, 2, 1, 3))
    if places.slot is not None:
      x = _put(module.get_variable('cache', name), x, places.slot, axis)
    elif not module.cross:
      x = fit(x, places.slots, axis)
    module.put_variable('cache', name, x)


def attend(module, q, places, bias, scale, before):
  """Returns a layer's attention [b, q, h, d] of q to what is kept.

  `before`: see attention.attention.
  """
  k, v = (module.get_variable('cache', name) for name in AXES)
  mask = places.memory_mask if module.cross else places.mask
  if before is not None:
    k, v, bias, mask = attention.with_before(
      before, k, v, bias, mask, kept=True
    )
  return attention.attention_to_kept(q, k, v, bias=bias, mask=mask, scale=scale)


# Which axis the slots are, as attention_to_kept wants it.
AXES = {'key': 3, 'value': 2}


def _put(kept, new, slot, axis):
  if slot.ndim == 0:

    def put(kept, new, slot):
      return jax.lax.dynamic_update_slice_in_dim(kept, new, slot, axis)

    def alone(kept, new, slot):
      # XLA's CPU compiler fuses the update twice, with the product that reads
      # it and with the loop's carry, and copies the cache three times a step
      # for that. It can't fuse what stands in a branch.
      return jax.lax.cond(slot >= 0, put, lambda *a: a[0], kept, new, slot)

    return jax.lax.platform_dependent(kept, new, slot, cpu=alone, default=put)
  kept, new = jnp.moveaxis(kept, axis, 1), jnp.moveaxis(new, axis, 1)
  kept = jax.vmap(lambda a, b, i: a.at[i].set(b))(kept, new, slot)
  return jnp.moveaxis(kept, 1, axis)


def fit(x, slots, axis, empty=0):
  """Returns the last `slots` places of x, each in its slot, or empty ones."""
  length = x.shape[axis]
  if length <= slots:
    pad = [(0, slots - length if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, pad, constant_values=empty)
  last = jax.lax.slice_in_dim(x, length - slots, length, axis=axis)
  return jnp.roll(last, length % slots, axis)


class KeyValues(struct.PyTreeNode):
  """Keys and values of n = b * siblings rows.

  Attributes:
    kept: {module: {'key': [b, g, d, s], 'value': [b, g, s, d]}}, the flax
      collection.
    place: int32 [s] or [b, s], each slot's place, -1 where it is empty.
    index: int32 scalar or [b], the place of the next token.
    start: int32 [b], the place of each row's first token.
    sees: int32 [b, siblings, places to come], see above, or None.
    memory_mask: bool [b, 1, 1, k], what is seen of the encoder, or None.
    hidden: float [n, t, m], the last step's hidden states, or None; after
      the pass over the prompts theirs, [b, l, m].
    prompt: places of the prompt.
    window: tokens that a query sees; 0 is all.
    siblings: see above.
  """

  kept: Any
  place: Any
  index: Any
  start: Any
  sees: Any = None
  memory_mask: Any = None
  hidden: Any = None
  prompt: int = struct.field(pytree_node=False, default=0)
  window: int = struct.field(pytree_node=False, default=0)
  siblings: int = struct.field(pytree_node=False, default=1)

  def take(self, rows):
    """Returns the cache whose row i goes on from row `rows[i]` of this one.

    Args:
      rows: int32 [n]; row i's is one of its own siblings, or itself.
    """
    if self.siblings == 1:
      return self
    own = rows.reshape(-1, self.siblings, 1) % self.siblings
    return self.replace(sees=jnp.take_along_axis(self.sees, own, axis=1))

  def rewind(self, count):
    """Returns the cache without each row's `count` int32 [n] last tokens."""
    return self.replace(index=self.index - count)

  def apart(self):
    """Returns the cache with an index for each row, so that it rewinds."""
    b = self.start.shape[0]
    return self.replace(
      index=jnp.broadcast_to(self.index, (b,)),
      place=jnp.broadcast_to(self.place, (b, self.place.shape[-1])),
    )

  def write(self, length):
    """Returns (cache, Places) of a step that writes `length` tokens a row.

    With siblings, it is one token of each.
    """
    slots, count = self.place.shape[-1], self.siblings
    query = self.index[..., None] + jnp.arange(length)
    step = length
    if count > 1:
      query, step = jnp.broadcast_to(self.index, (count,)), 1
      slot = self.prompt + (self.index - self.prompt) * count
    elif self.index.ndim or (self.window and length > 1):
      slot = jnp.broadcast_to(query % slots, (len(self.start), length))
    else:
      slot = self.index % slots
    if slot.ndim:
      place = jnp.broadcast_to(self.place, (len(self.start), slots))
      new = jnp.broadcast_to(query, slot.shape)
      place = jax.vmap(lambda a, i, x: a.at[i].set(x))(place, slot, new)
    else:
      place = jax.lax.dynamic_update_slice_in_dim(self.place, query, slot, 0)
    relative = place[..., None, :] - query[..., None]
    relative = relative.reshape(-1, *relative.shape[-2:])
    seen = (relative <= 0) & (place >= self.start[:, None])[:, None]
    if self.window:
      seen &= relative > -self.window
    sees = self.sees
    if count > 1:
      own = jnp.arange(count)
      ahead = jnp.arange(sees.shape[2]) == self.index - self.prompt
      sees = jnp.where(ahead, own[:, None], sees)
      mine = (sees[..., None] == own).reshape(*sees.shape[:2], -1)
      seen &= jnp.pad(
        mine, [(0, 0), (0, 0), (self.prompt, 0)], constant_values=True
      )
    cache = self.replace(place=place, index=self.index + step, sees=sees)
    return cache, Places(slots, slot, seen[:, None], relative, self.memory_mask)
