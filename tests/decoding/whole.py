"""A model that writes by a pass over the whole text for every token."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


class Tokens(struct.PyTreeNode):
  """All tokens of n rows [n, l], where each begins [n], and where they end."""

  tokens: Any
  start: Any
  end: Any
  hidden: Any = None

  def take(self, rows):
    """See ctxlm.decoding.Cache."""
    return self.replace(tokens=self.tokens[rows], start=self.start[rows])


@dataclasses.dataclass(frozen=True)
class Whole:
  """ctxlm.decoding.Model of a Flax module; no row is padded on its left."""

  module: Any

  encoder_decoder = False
  rewinds = False

  @property
  def vocab_size(self):
    """See ctxlm.decoding.Model."""
    return self.module.vocab_size

  @property
  def context_length(self):
    """See ctxlm.decoding.Model."""
    return self.module.context_length

  def to_write(self, params):
    """See ctxlm.decoding.Model."""
    return self, params

  def begin(self, params, prompts):
    """See ctxlm.decoding.Model."""
    p, length = prompts, prompts.tokens.shape[1]
    assert p.chunk == 1 and p.source is None
    rows = jnp.repeat(jnp.arange(len(p.tokens)), p.copies)
    logits, hidden = self._pass(params, p.tokens[rows], p.start[rows])
    rows = jnp.repeat(rows, p.siblings)
    room = jnp.pad(p.tokens[rows], [(0, 0), (0, p.ahead)])
    hidden = hidden if p.keep_hidden else None
    return logits[:, -1], Tokens(room, p.start[rows], jnp.int32(length), hidden)

  def advance(self, params, tokens, cache):
    """See ctxlm.decoding.Model."""
    room = jax.lax.dynamic_update_slice_in_dim(
      cache.tokens, tokens, cache.end, 1
    )
    found = self._pass(params, room, cache.start)
    logits, hidden = (
      jax.lax.dynamic_slice_in_dim(x, cache.end, tokens.shape[1], 1)
      for x in found
    )
    return logits, cache.replace(
      tokens=room,
      end=cache.end + tokens.shape[1],
      hidden=None if cache.hidden is None else hidden,
    )

  def _pass(self, params, tokens, start):
    # Each row from its own beginning; what it then has at its end is not seen.
    column = jnp.arange(tokens.shape[1])
    most = self.context_length or len(column)
    place = jnp.minimum(column + start[:, None], len(column) - 1)
    rows = jnp.take_along_axis(tokens, place, axis=1)[:, :most]

    def forward(model):
      hidden = model(rows)
      return model.logits(hidden), hidden

    found = self.module.apply({'params': params}, method=forward)
    back = jnp.clip(column - start[:, None], 0, rows.shape[1] - 1)[..., None]
    return [jnp.take_along_axis(x, back, axis=1) for x in found]
