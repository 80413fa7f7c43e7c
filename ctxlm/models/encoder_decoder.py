"""An encoder and a decoder that attends to it; BART- or T5-shaped."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from ctxlm.models import decoder, heads, layers, transformer


class Model(decoder.Decoder, heads.Heads, transformer.Options, nn.Module):
  """Vaswani et al. 2017, figure 1, with one table of token embeddings.

  Attributes: those of `transformer.Options`, for both stacks, and
    num_decoder_layers: 0 is num_layers.
    decoder_start: which of the tokenizer's special tokens the decoder begins
      with: 'bos', 'eos' (BART), 'pad' (T5) or 'cls'.
  """

  num_decoder_layers: transformer.Depth = 0
  decoder_start: Literal['bos', 'eos', 'pad', 'cls'] = 'bos'

  encoder_decoder = True

  def __post_init__(self):
    transformer.Options.__post_init__(self)
    if not self.causal:
      raise ValueError('causal must be True: it is the decoder that it names')
    nn.Module.__post_init__(self)

  def setup(self):
    o = self.options
    layers_below = self.num_decoder_layers or self.num_layers
    self.inputs = transformer.Inputs(o)
    self.encoder = layers.Stack(o, self.num_layers)
    self.decoder_inputs = transformer.Inputs(o)
    self.decoder = layers.Stack(
      dataclasses.replace(o, num_layers=layers_below),
      layers_below,
      causal=True,
      cross=True,
    )
    self.setup_heads()

  def __call__(
    self,
    tokens,
    decoder_tokens,
    *,
    segment_ids=None,
    positions=None,
    type_ids=None,
    decoder_segment_ids=None,
    decoder_positions=None,
    rows=None,
  ):
    """Returns the decoder's hidden states [b, t, m].

    Args:
      tokens: int32 [b, l], what the encoder reads.
      decoder_tokens: int32 [b, t], the target, shifted right.
      segment_ids, decoder_segment_ids: int32 [b, l], [b, t]; a target sees
        the source of its own segment; None is one segment, 1.
      positions, decoder_positions, type_ids, rows: see transformer.Model.
    """
    memory = self.encode(
      tokens,
      segment_ids=segment_ids,
      positions=positions,
      type_ids=type_ids,
      rows=rows,
    )
    return self.decode(
      decoder_tokens,
      memory,
      segment_ids=decoder_segment_ids,
      memory_segment_ids=segment_ids,
      positions=decoder_positions,
      rows=rows,
    )

  def encode(
    self, tokens, *, segment_ids=None, positions=None, type_ids=None, rows=None
  ):
    """Returns the encoder's hidden states [b, l, m] of tokens [b, l]."""
    if positions is None:
      positions = jnp.arange(tokens.shape[1])[None]
    embedded = self.inputs(tokens, positions, type_ids, rows)
    return self.encoder(
      embedded, segment_ids=segment_ids, positions=positions, rows=rows
    )

  def decode(
    self,
    tokens,
    memory,
    *,
    segment_ids=None,
    memory_segment_ids=None,
    positions=None,
    rows=None,
    places=None,
  ):
    """Returns hidden states [b, t, m] of tokens [b, t], memory [b, l, m].

    The memory may be None where `places` name a cache that holds its keys.
    """
    if positions is None:
      positions = jnp.arange(tokens.shape[1])[None]
    crossing = {}
    if segment_ids is not None or memory_segment_ids is not None:
      one = jnp.ones((), jnp.int32)
      crossing = dict(
        cross_segment_ids=jnp.broadcast_to(one, tokens.shape)
        if segment_ids is None
        else segment_ids,
        memory_segment_ids=jnp.broadcast_to(one, memory.shape[:2])
        if memory_segment_ids is None
        else memory_segment_ids,
      )
    embedded = self.decoder_inputs(
      tokens, positions, None, rows, token_embed=self.inputs.token_embed
    )
    return self.decoder(
      embedded,
      memory=memory,
      segment_ids=segment_ids,
      positions=positions,
      rows=rows,
      places=places,
      **crossing,
    )

  def go_on(self, tokens, source=None, source_segment_ids=None, **given):
    """See decoder.Decoder; without a source its keys and values are kept."""
    if source is None:
      return self.decode(tokens, None, **given)
    memory = self.encode(source, segment_ids=source_segment_ids)
    return self.decode(
      tokens, memory, memory_segment_ids=source_segment_ids, **given
    )
