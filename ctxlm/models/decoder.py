"""A model that writes: it begins with prompts, and goes on token by token.

See ctxlm.decoding.Model for what these methods promise to whoever calls them.
"""

import jax
import jax.numpy as jnp

from ctxlm.models import cache as cache_lib
from ctxlm.models.variables import variables


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

  def begin(
    self,
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
    """Passes once over the prompts; see ctxlm.decoding.Model."""
    length = tokens.shape[1]
    slots = length + ahead * siblings
    if self.window and siblings == 1:
      slots = min(slots, self.window + chunk - 1)
    logits, hidden, kept = self.read_prompts(
      params, tokens, start, slots, source, source_segment_ids
    )
    start, logits, kept = repeat((start, logits, kept), copies)
    sees, memory_mask = None, None
    if source is not None:
      memory_mask = repeat(source_segment_ids > 0, copies)[:, None, None]
    if siblings > 1:
      sees = jnp.zeros((len(start), siblings, ahead), jnp.int32)
    cache = cache_lib.KeyValues(
      kept=kept,
      place=cache_lib.fit(jnp.arange(length), slots, 0, empty=-1),
      index=jnp.asarray(length, jnp.int32),
      start=start,
      sees=sees,
      memory_mask=memory_mask,
      hidden=repeat(hidden, copies) if keep_hidden else None,
      prompt=length,
      window=self.window,
      siblings=siblings,
    )
    return logits, cache.apart() if chunk > 1 else cache

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

  def read_prompts(
    self, params, tokens, start, slots, source=None, source_segment_ids=None
  ):
    """Returns the pass over prompts int32 [b, l], padded on the left.

    Returns:
      (logits float32 [b, v] of the first new token, hidden states [b, l, m],
      the flax collection `cache`).
    """
    column = jnp.arange(tokens.shape[1])
    given = dict(
      positions=jnp.maximum(column - start[:, None], 0),
      segment_ids=(column >= start[:, None]).astype(jnp.int32),
      places=cache_lib.Places(slots),
    )

    def forward(model):
      hidden = model.go_on(tokens, source, source_segment_ids, **given)
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
