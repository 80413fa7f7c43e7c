"""A model that reads on from a state of fixed size, such as an LSTM's.

Its layers keep the state in the flax collection `cache`, each row's own, so
that siblings are rows like all others. What has been read can't be unread. Text
is written from it, and what is longer than a row is read on from it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ctxlm.models import cache as cache_lib
from ctxlm.models import decoder

ENDLESS = 2**31 - 1  # places of a text that is read for as long as it goes on


def begins(tokens, segment_ids):
  """Returns bool [b, l]: where segments begin, but for a row's first one.

  Args:
    tokens: [b, l, ...].
    segment_ids: int32 [b, l]; None is one segment.
  """
  new = jnp.zeros(tokens.shape[:2], bool)
  if segment_ids is None:
    return new
  return new.at[:, 1:].set(segment_ids[:, 1:] != segment_ids[:, :-1])


def empty(apply, params, rows):
  """Returns what a models.Carries keeps of rows that have read nothing.

  Args:
    apply: see variables.make_apply.
    params: its parameters.
    rows: int, how many.
  """
  nothing = jnp.zeros((rows, 0), jnp.int32)

  def read(model):
    return model(
      nothing,
      segment_ids=nothing,
      positions=nothing,
      places=cache_lib.Places(ENDLESS),
    )

  return apply(params, read, mutable=['cache'])[1]['cache']


def restart(kept, fresh, carried):
  """Returns what is kept of rows, those that don't go on having read nothing.

  Args:
    kept, fresh: trees of arrays [b, ...], see `empty`.
    carried: [b], which rows go on.
  """

  def one(old, new):
    on = carried.reshape(-1, *(1,) * (old.ndim - 1)) > 0
    return jnp.where(on, old, new)

  return jax.tree.map(one, kept, fresh)


class States(struct.PyTreeNode):
  """What the layers keep of n rows.

  Attributes:
    kept: {module: arrays [n, ...]}, the flax collection.
    index: int32 scalar, the place of the next token.
    start: int32 [n], the place of each row's first token.
    hidden: see ctxlm.models.cache.KeyValues.
  """

  kept: Any
  index: Any
  start: Any
  hidden: Any = None

  def take(self, rows):
    """Returns the states whose row i goes on from row `rows[i]` of these."""
    kept = jax.tree.map(lambda x: x[rows], self.kept)
    return self.replace(kept=kept, start=self.start[rows])


class Decoder(decoder.Decoder):
  """Methods of a Model whose mixers keep states."""

  rewinds = False

  @property
  def carries(self):
    """See models.Carries: it reads any length, and its layers aren't one."""
    return self.context_length is None and not self.scan_layers

  def begin(self, params, prompts):
    """Passes once over the prompts; see ctxlm.decoding.Model.

    Raises:
      ValueError: more than one token a step, or a source.
    """
    p, length = prompts, prompts.tokens.shape[1]
    if p.chunk > 1 or p.source is not None:
      raise ValueError('states are of a decoder alone, and are not rewound')
    logits, hidden, kept = self.read_prompts(params, p, length + p.ahead)
    start, kept = decoder.repeat((p.start, kept), p.copies * p.siblings)
    hidden = decoder.repeat(hidden, p.copies) if p.keep_hidden else None
    index = jnp.asarray(length, jnp.int32)
    return decoder.repeat(logits, p.copies), States(kept, index, start, hidden)

  def advance(self, params, tokens, cache):
    """Passes over the next tokens; see ctxlm.decoding.Model."""
    length = tokens.shape[1]
    place = cache.index + jnp.arange(length)
    positions = place - cache.start[:, None]
    cache = cache.replace(index=cache.index + length)
    places = cache_lib.Places(0)
    return self.read_tokens(params, tokens, cache, positions, places)
