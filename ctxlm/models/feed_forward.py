"""The feed-forward neural language model: Bengio et al. 2003, JMLR 3:1137."""

from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import dropout as dropout_lib
from ctxlm.models import heads, states
from ctxlm.ranges import BelowOne, Count, Range, Whole

ABSENT = -1  # a token before the text


class Model(states.Decoder, heads.Heads, nn.Module):
  """y = b + W x + U tanh(d + H x), x the last n - 1 tokens' embeddings.

  Equation 1 there; the newest token comes first in x. Tokens see their own
  segment alone: what would stand before it is a vector of zeros.

  Attributes:
    vocab_size: tokens; the loop sets it to the tokenizer's where it is 0.
    order: n, so that a token is predicted from the n - 1 before it.
    embedding_size: m, of a token's vector.
    hidden_size: h, units of tanh.
    direct: whether there are the direct connections W.
    dropout: of the units.
    max_length: tokens of a row.
    dtype: of the computation; parameters are float32.
  """

  vocab_size: Whole = 0
  order: Annotated[int, Range('[2, 64]')] = 5
  embedding_size: Count = 60
  hidden_size: Count = 100
  direct: bool = False
  dropout: BelowOne = 0.0
  max_length: Count = 512
  dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'

  causal = True
  encoder_decoder = False
  context_length = None
  num_layers = 1
  tie_embeddings = False
  scan_layers = False

  def setup(self):
    dtype = jnp.dtype(self.dtype)
    self.token_embed = nn.Embed(
      self.vocab_size, self.embedding_size, dtype=dtype
    )
    self.up = nn.Dense(self.hidden_size, dtype=dtype)
    self.drop = dropout_lib.Dropout(self.dropout)
    self.lm_head = nn.Dense(self.vocab_size, dtype=dtype)
    self.heads = heads.Host()

  def __call__(
    self,
    tokens,
    *,
    segment_ids=None,
    positions=None,
    type_ids=None,
    rows=None,
    places=None,
  ):
    """Returns tanh(d + H x), and behind it x if `direct`: [b, l, m].

    See models.Carries; what it keeps is the last tokens.
    """
    del positions, type_ids
    reach, length = self.order - 2, tokens.shape[1]  # tokens before the newest
    index = jnp.arange(length)
    begins = states.begins(tokens, segment_ids)
    if segment_ids is not None:
      tokens = jnp.where(segment_ids > 0, tokens, ABSENT)
    first = jax.lax.cummax(jnp.where(begins, index, -reach), axis=1)
    before = jnp.full((len(tokens), reach), ABSENT, tokens.dtype)
    if places is not None and self.has_variable('cache', 'tokens'):
      before = self.get_variable('cache', 'tokens')
    line = jnp.concatenate([before, tokens], axis=1)
    if places is not None:
      self.put_variable('cache', 'tokens', line[:, length:])
    embedded = self.token_embed(jnp.maximum(line, 0))
    embedded = jnp.where((line >= 0)[..., None], embedded, 0)
    context = []
    for back in range(self.order - 1):
      own = embedded[:, reach - back : reach - back + length]
      inside = index - back >= first
      context.append(jnp.where(inside[..., None], own, 0))
    context = jnp.concatenate(context, axis=-1)
    hidden = self.drop(jnp.tanh(self.up(context)), rows)
    if self.direct:
      hidden = jnp.concatenate([hidden, context], axis=-1)
    return hidden

  def logits(self, hidden):
    """Returns next-token logits float32 [..., v] of hidden [..., m]."""
    return self.lm_head(hidden).astype(jnp.float32)

  def to_write(self, params):
    """See decoding.Model."""
    return self, params
