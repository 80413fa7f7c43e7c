"""A model that writes: it begins with prompts, and goes on token by token.

See ctxlm.decoding.Model for what these methods promise to whoever calls them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.models import cache as cache_lib
from ctxlm.models.variables import variables


class Prompts(struct.PyTreeNode):
  """What a text begins with, and what will be asked of its cache.

  Attributes:
    tokens: int32 [b, l], padded on the left; of an encoder-decoder, what its
      target begins with.
    start: int32 [b], how much padding each row has.
    source, source_segment_ids: int32 [b, k], of an encoder-decoder; ids 1 and,
      for padding, 0. Of a model that reads passages, [b, p, k].
    ahead: tokens to come, at most.
    chunk: tokens of a later step, at most; where it is more than one, the
      cache is rewound.
    copies: rows made of each row, one after another.
    siblings: rows of the cache for each of those, likewise; they are equal at
      first.
    keep_hidden: whether the cache has hidden states.
  """

  tokens: Any
  start: Any
  source: Any = None
  source_segment_ids: Any = None
  ahead: int = struct.field(pytree_node=False, default=1)
  chunk: int = struct.field(pytree_node=False, default=1)
  copies: int = struct.field(pytree_node=False, default=1)
  siblings: int = struct.field(pytree_node=False, default=1)
  keep_hidden: bool = struct.field(pytree_node=False, default=False)


class Decoder:
  """Methods of a Model that attends; layers keep keys and values.

  They are called on the model itself, with its parameters, not inside of
  `apply`.
  """

  rewinds = True

  @property
  def context_length(self):
    """Tokens that the model can see, or None where there is no limit."""
    bounded = self.position in ('learned', 'sinusoidal', 'rotary')
    return self.max_length if bounded else None

  def begin(self, params, prompts):
    """Passes once over the prompts; see ctxlm.decoding.Model."""
    p, length = prompts, prompts.tokens.shape[1]
    slots = length + p.ahead * p.siblings
    if self.window and p.siblings == 1:
      slots = min(slots, self.window + p.chunk - 1)
    logits, hidden, kept = self.read_prompts(params, p, slots)
    start, logits, kept = repeat((p.start, logits, kept), p.copies)
    sees, memory_mask = None, None
    if p.source is not None:
      seen = (p.source_segment_ids > 0).reshape(len(p.start), -1)
      memory_mask = repeat(seen, p.copies)[:, None, None]
    if p.siblings > 1:
      sees = jnp.zeros((len(start), p.siblings, p.ahead), jnp.int32)
    cache = cache_lib.KeyValues(
      kept=kept,
      place=cache_lib.fit(jnp.arange(length), slots, 0, empty=-1),
      index=jnp.asarray(length, jnp.int32),
      start=start,
      sees=sees,
      memory_mask=memory_mask,
      hidden=repeat(hidden, p.copies) if p.keep_hidden else None,
      prompt=length,
      window=self.window,
      siblings=p.siblings,
    )
    return logits, cache.apart() if p.chunk > 1 else cache

  def advance(self, params, tokens, cache):
    """Passes over the next tokens; see ctxlm.decoding.Model."""
    shape = len(cache.start), tokens.size // len(cache.start)
    place = cache.index[..., None] + jnp.arange(tokens.shape[1])
    positions = jnp.broadcast_to(place - cache.start[:, None], shape)
    if self.context_length is not None:
      # Drafts may stand after the end, and the table has no position there.
      positions = jnp.minimum(positions, self.context_length - 1)
    cache, places = cache.write(shape[1])
    return self.read_tokens(params, tokens, cache, positions, places)

  def read_prompts(self, params, prompts, slots):
    """Passes over the prompts; layers that attend keep `slots` slots.

    Returns:
      (logits float32 [b, v] of the first new token, hidden states [b, l, m],
      the flax collection `cache`).
    """
    p, column = prompts, jnp.arange(prompts.tokens.shape[1])
    given = dict(
      positions=jnp.maximum(column - p.start[:, None], 0),
      segment_ids=(column >= p.start[:, None]).astype(jnp.int32),
      places=cache_lib.Places(slots),
    )

    def forward(model):
      hidden = model.go_on(p.tokens, p.source, p.source_segment_ids, **given)
      return model.logits(hidden[:, -1]), hidden

    (logits, hidden), kept = self.apply(
      variables(params), method=forward, mutable=['cache']
    )
    return logits, hidden, kept['cache']

  def read_tokens(self, params, tokens, cache, positions, places):
    """Returns (logits [n, t, v], cache) of the pass over tokens int32 [n, t].

    Args:
      params: the model's.
      tokens: as above.
      cache: whose layers' parts are replaced.
      positions: int32 [b, q], n * t in the shape that the layers see.
      places: see ctxlm.models.cache.
    """
    rows = tokens.reshape(positions.shape)

    def forward(model):
      hidden = model.go_on(rows, positions=positions, places=places)
      return model.logits(hidden), hidden

    (logits, hidden), kept = self.apply(
      variables(params, cache=cache.kept), method=forward, mutable=['cache']
    )
    cache = cache.replace(kept=kept['cache'])
    if cache.hidden is not None:
      cache = cache.replace(hidden=hidden.reshape(*tokens.shape, -1))
    return logits.reshape(*tokens.shape, -1), cache

  def go_on(self, tokens, source=None, source_segment_ids=None, **given):
    """Returns hidden states [b, l, m] of tokens, inside of `apply`."""
    del source, source_segment_ids  # an encoder-decoder's
    return self(tokens, **given)

  def to_write(self, params):
    """Returns (model, parameters) that write the same, fastest.

    Scanned layers go one by one, as a scan copies each layer's part of the
    cache out and in, at every step. And on a CPU tied logits get a matrix
    [m, v] of their own: the product of few rows with it, the largest of a
    step, reads memory a third faster than with the embedding [v, m].
    """
    model = self
    if model.scan_layers:
      model = model.clone(scan_layers=False, remat='none')
      params = _unstacked(params)
    quick = model.dtype != 'float32' or jax.default_backend() != 'cpu'
    if model.tie_embeddings and not quick:
      kernel = params['inputs']['token_embed']['embedding'].T
      params = params | {'lm_head': {'kernel': kernel}}
      model = model.clone(tie_embeddings=False)
    return model, params


def repeat(tree, count):
  """Returns a tree with `count` of each row, one after another."""
  return jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), tree)


def _unstacked(tree):
  if not isinstance(tree, dict):
    return tree
  out = {}
  for name, value in tree.items():
    if name == 'layers':
      count = jax.tree.leaves(value)[0].shape[0]
      for i in range(count):
        out[f'layers_{i}'] = jax.tree.map(lambda x, i=i: x[i], value)
    else:
      out[name] = _unstacked(value)
  return out
