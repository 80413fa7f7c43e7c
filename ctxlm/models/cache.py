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
      x = _fit(x, places.slots, axis)
    module.put_variable('cache', name, x)


def attend(module, q, places, bias, scale):
  """Returns a layer's attention [b, q, h, d] of q to what is kept."""
  k, v = (module.get_variable('cache', name) for name in AXES)
  mask = places.memory_mask if module.cross else places.mask
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


def _fit(x, slots, axis, empty=0):
  # The last `slots` places of x, each in its slot, and empty slots after them.
  length = x.shape[axis]
  if length <= slots:
    pad = [(0, slots - length if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, pad, constant_values=empty)
  last = jax.lax.slice_in_dim(x, length - slots, length, axis=axis)
  return jnp.roll(last, length % slots, axis)


class Cache(struct.PyTreeNode):
  """The state of decoding n = b * siblings rows.

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
    """Returns the cache with an index for each row, for `rewind`."""
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


def begin(
  model,
  params,
  tokens,
  start,
  *,
  ahead,
  chunk=1,
  copies=1,
  siblings=1,
  source=None,
  source_segment_ids=None,
  keep_hidden=False,
):
  """Passes once over the prompts.

  Args:
    model, params: of a causal transformer, or an encoder-decoder.
    tokens: int32 [b, l], padded on the left; what the decoder begins with.
    start: int32 [b], how much padding each row has.
    ahead: places to come, at most.
    chunk: tokens of a later step, at most.
    copies: rows made of each row, one after another.
    siblings: siblings of each of those.
    source, source_segment_ids: int32 [b, k], of the encoder; ids 1 and, for
      padding, 0.
    keep_hidden: whether the cache has the hidden states.

  Returns:
    (logits float32 [b * copies, v] of the first new token, Cache).
  """
  length = tokens.shape[1]
  slots = length + ahead * siblings
  if model.window and siblings == 1:
    slots = min(slots, model.window + chunk - 1)
  real = (jnp.arange(length) >= start[:, None]).astype(jnp.int32)
  given = dict(
    positions=jnp.maximum(jnp.arange(length) - start[:, None], 0),
    segment_ids=real,
    places=Places(slots),
  )

  def forward(model):
    if source is None:
      hidden = model(tokens, **given)
    else:
      hidden = model.decode(
        tokens,
        model.encode(source, segment_ids=source_segment_ids),
        memory_segment_ids=source_segment_ids,
        **given,
      )
    return model.logits(hidden[:, -1]), hidden

  (logits, hidden), kept = model.apply(
    {'params': params}, method=forward, mutable=['cache']
  )

  def repeat(tree):
    return jax.tree.map(lambda x: jnp.repeat(x, copies, axis=0), tree)

  sees, memory_mask = None, None
  if source is not None:
    memory_mask = repeat(source_segment_ids > 0)[:, None, None]
  if siblings > 1:
    sees = jnp.zeros((len(start) * copies, siblings, ahead), jnp.int32)
  return repeat(logits), Cache(
    kept=repeat(kept['cache']),
    place=_fit(jnp.arange(length), slots, 0, empty=-1),
    index=jnp.asarray(length, jnp.int32),
    start=repeat(start),
    sees=sees,
    memory_mask=memory_mask,
    hidden=repeat(hidden) if keep_hidden else None,
    prompt=length,
    window=model.window,
    siblings=siblings,
  )


def step(model, params, tokens, cache):
  """Passes over the next tokens int32 [n, t].

  Returns:
    (logits float32 [n, t, v], Cache).
  """
  shape = tokens.shape
  tokens = tokens.reshape(len(cache.start), -1)
  index = cache.index
  cache, places = cache.write(tokens.shape[1])
  place = index[..., None] + jnp.arange(shape[1])
  positions = jnp.broadcast_to(place - cache.start[:, None], tokens.shape)
  given = dict(positions=positions, places=places)

  def forward(model):
    if cache.memory_mask is None:
      hidden = model(tokens, **given)
    else:
      hidden = model.decode(tokens, None, **given)
    return model.logits(hidden), hidden

  (logits, hidden), kept = model.apply(
    {'params': params, 'cache': cache.kept}, method=forward, mutable=['cache']
  )
  cache = cache.replace(kept=kept['cache'])
  if cache.hidden is not None:
    cache = cache.replace(hidden=hidden.reshape(*shape, -1))
  return logits.reshape(*shape, -1), cache


def unrolled(model, params):
  """Returns (model, params) with scanned layers one by one.

  A scan copies each layer's part of the cache out and in, at every step.
  """

  def split(tree):
    if not isinstance(tree, dict):
      return tree
    out = {}
    for name, value in tree.items():
      if name == 'layers':
        count = jax.tree.leaves(value)[0].shape[0]
        for i in range(count):
          out[f'layers_{i}'] = jax.tree.map(lambda x, i=i: x[i], value)
      else:
        out[name] = split(value)
    return out

  if not model.scan_layers:
    return model, params
  return model.clone(scan_layers=False, remat='none'), split(params)


def untied(model, params):
  """Returns (model, params) with tied logits' matrix [m, v] of its own.

  On a CPU only, where the product of few rows with it, the largest of a step,
  reads memory a third faster than with the embedding [v, m].
  """
  tied = getattr(model, 'tie_embeddings', False)
  if not tied or model.dtype != 'float32' or jax.default_backend() != 'cpu':
    return model, params
  kernel = params['inputs']['token_embed']['embedding'].T
  params = params | {'lm_head': {'kernel': kernel}}
  return model.clone(tie_embeddings=False), params
