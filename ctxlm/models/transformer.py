"""One Transformer stack; by its options BERT-, GPT-2- or LLaMA-shaped."""

import dataclasses
from typing import Annotated, Literal

import flax.linen as nn
import jax.numpy as jnp

from ctxlm.errors import UserError
from ctxlm.models import attention, decoder, heads, layers, positions
from ctxlm.models import dropout as dropout_lib
from ctxlm.ranges import AboveZero, BelowOne, Count, Range, Whole, ZeroOrMore

Depth = Annotated[int, Range('[0, 1000]')]  # more are never compiled
Width = Annotated[int, Range('[0, inf)', -1)]
Position = Literal[*positions.SCHEMES]


@dataclasses.dataclass(unsafe_hash=True)
class Options:
  """What a Transformer is made of; the options of every Model here.

  Attributes:
    vocab_size: tokens; the loop sets it to the tokenizer's where it is 0.
    hidden_size, num_layers, num_heads: as named.
    num_kv_heads: grouped-query heads; 0 is num_heads.
    head_dim: 0 is hidden_size / num_heads.
    mlp_dim: 0 is 4 * hidden_size; -1 is no MLP (attention-only).
    activation: 'gelu' (erf), 'gelu_tanh', 'relu', 'silu'.
    gated: whether the MLP has a gate.
    norm: 'layernorm' or 'rmsnorm'; norm_position: 'pre' or 'post'.
    norm_epsilon: added to the variance.
    embedding_norm: norm after the embeddings (BERT).
    final_norm: norm after the last block (GPT-2).
    layer_mix: whether a stack gives a learned weighting of its embeddings and
      all its layers, each behind the final norm, in place of the last one
      (Peters et al. 2018, section 3.2).
    position: see ctxlm.models.positions.SCHEMES; max_length bounds 'learned'.
    position_offset: rows of the learned table before position 0's, which
      RoBERTa and BART have.
    rotary_base, t5_buckets, t5_max_distance: of those schemes.
    type_vocab_size: segment embeddings; 0 is none.
    embedding_scale: whether token embeddings are times sqrt(m).
    bias: biases of linear maps and LayerNorms; attention_bias, mlp_bias: of
      those linear maps, although bias is False (LLaMA).
    tie_embeddings: whether the LM head is the token embedding.
    logits_scale: whether the LM head reads hidden / sqrt(m) (T5 1.0).
    logits_bias: whether the logits have a constant added, which is never
      trained (BART's final_logits_bias).
    causal: decoder; else encoder.
    window: see ctxlm.models.attention.make_mask; 0 is everything.
    attention_scale: of the scores; 0 is 1 / sqrt(d).
    dropout: of embeddings and residuals (all papers); embedding_dropout: of
      the embeddings where it differs, -1 where it doesn't (GPT-2);
      attention_dropout: of weights (BERT, GPT-2); mlp_dropout: after the MLP's
      activation (T5, BART); output_dropout: of the stack's output (T5).
    init_stddev: of all kernels; those that write to the residual of a
      pre-norm stack are divided by sqrt(2 * num_layers) (GPT-2, section 2.3).
    projection_layers: depth of the projection head (SimCSE).
    scan_layers: one compiled block, scanned; remat: 'none', 'full', 'dots'.
    attention_backend: see ctxlm.models.attention.
    dtype: of the computation; parameters are float32.
  """

  vocab_size: Whole = 0
  hidden_size: Count = 256
  num_layers: Depth = 4
  num_heads: Count = 4
  num_kv_heads: Whole = 0
  head_dim: Whole = 0
  mlp_dim: Width = 0
  activation: Literal[*layers.ACTIVATIONS] = 'gelu_tanh'
  gated: bool = False
  norm: Literal['layernorm', 'rmsnorm'] = 'layernorm'
  norm_position: Literal['pre', 'post'] = 'pre'
  norm_epsilon: ZeroOrMore = 1e-5
  embedding_norm: bool = False
  final_norm: bool = True
  layer_mix: bool = False
  position: Position = 'learned'
  max_length: Count = 512
  position_offset: Whole = 0
  rotary_base: AboveZero = 10000.0
  t5_buckets: Annotated[int, Range('[2, inf)')] = 32
  t5_max_distance: Count = 128
  type_vocab_size: Whole = 0
  embedding_scale: bool = False
  bias: bool = True
  attention_bias: bool = False
  mlp_bias: bool = False
  tie_embeddings: bool = True
  logits_scale: bool = False
  logits_bias: bool = False
  causal: bool = True
  window: Whole = 0
  attention_scale: ZeroOrMore = 0.0
  dropout: BelowOne = 0.0
  embedding_dropout: Annotated[float, Range('[0, 1)', -1)] = -1.0
  attention_dropout: BelowOne = 0.0
  mlp_dropout: BelowOne = 0.0
  output_dropout: BelowOne = 0.0
  init_stddev: ZeroOrMore = 0.02
  projection_layers: Depth = 1
  scan_layers: bool = False
  remat: Literal['none', *layers.POLICIES] = 'none'
  attention_backend: Literal[*attention.BACKENDS] = 'auto'
  dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'

  def __post_init__(self):
    if not self.head_dim and self.hidden_size % self.num_heads:
      raise ValueError(
        f'hidden_size={self.hidden_size} is not divisible by '
        f'num_heads={self.num_heads}'
      )
    if self.num_kv_heads and self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_heads={self.num_heads} is not divisible by '
        f'num_kv_heads={self.num_kv_heads}'
      )
    head_dim = self.head_dim or self.hidden_size // self.num_heads
    if self.position == 'rotary' and head_dim % 2:
      raise ValueError(f"position='rotary' needs an even head_dim={head_dim}")
    if self.position == 'sinusoidal' and self.hidden_size % 2:
      raise ValueError(
        f"position='sinusoidal' needs an even hidden_size={self.hidden_size}"
      )
    exact = self.t5_buckets // (2 if self.causal else 4)
    if self.position == 't5' and not 0 < exact < self.t5_max_distance:
      raise ValueError(
        f't5_buckets={self.t5_buckets} and t5_max_distance='
        f'{self.t5_max_distance}: {exact} buckets of one distance each must '
        'be at least 1, and fewer than t5_max_distance'
      )

  def check_layers(self, name, more=''):
    """Raises ValueError if the option of that name has layers past the last."""
    far = [i for i in getattr(self, name) if i > self.num_layers]
    if far:
      raise ValueError(
        f'{name} has {far[0]}, and the layers are 1 to '
        f'num_layers={self.num_layers}{more}'
      )

  @property
  def options(self):
    """The plain options, for submodules (a Module can't hold its parent)."""
    names = [f.name for f in dataclasses.fields(self.kind)]
    return self.kind(**{name: getattr(self, name) for name in names})

  @property
  def kind(self):
    """The class of `options`; a Model with more of them has its own."""
    return Options

  @property
  def out_stddev(self):
    """Of kernels that write to the residual."""
    if self.norm_position == 'pre':
      return self.init_stddev / (2 * self.num_layers) ** 0.5
    return self.init_stddev


class Inputs(nn.Module):
  """Token + position + segment embeddings (BERT, figure 2).

  Called with `token_embed`, it takes that one in place of its own, as the
  decoder of an encoder-decoder does.
  """

  options: Options

  def setup(self):
    o = self.options
    init = layers.normal(o.init_stddev)
    dtype = jnp.dtype(o.dtype)
    self.token_embed = layers.Embed(
      o.vocab_size, o.hidden_size, embedding_init=init, dtype=dtype
    )
    if o.position == 'learned':
      self.position_embed = nn.Embed(
        o.max_length + o.position_offset,
        o.hidden_size,
        embedding_init=init,
        dtype=dtype,
      )
    if o.type_vocab_size:
      self.type_embed = nn.Embed(
        o.type_vocab_size, o.hidden_size, embedding_init=init, dtype=dtype
      )
    if o.embedding_norm:
      self.norm = layers.make_norm(o, None)
    own = o.embedding_dropout >= 0
    self.dropout = dropout_lib.Dropout(
      o.embedding_dropout if own else o.dropout
    )

  def __call__(self, tokens, positions_, type_ids, rows, token_embed=None):
    """Returns [b, l, m] of tokens, positions and types int [b, l].

    Raises:
      UserError: the row is longer than the learned positions.
    """
    o = self.options
    if o.position == 'learned' and tokens.shape[1] > o.max_length:
      raise UserError(
        f'a row of {tokens.shape[1]} tokens is longer than '
        f'config.model.max_length={o.max_length}, the learned positions'
      )
    x = (token_embed or self.token_embed)(tokens)
    if o.embedding_scale:
      x = x * jnp.sqrt(o.hidden_size).astype(x.dtype)
    if o.position == 'learned':
      x = x + self.position_embed(positions_ + o.position_offset)
    elif o.position == 'sinusoidal':
      x = x + positions.sinusoidal(positions_, o.hidden_size).astype(x.dtype)
    if o.type_vocab_size:
      if type_ids is None:
        type_ids = jnp.zeros_like(tokens)
      x = x + self.type_embed(type_ids)
    if o.embedding_norm:
      x = self.norm(x)
    return self.dropout(x, rows)


class Model(decoder.Decoder, heads.Heads, Options, nn.Module):
  """A Transformer encoder, or decoder-only language model; see Options."""

  encoder_decoder = False
  mixer = None  # a Module in place of attention; see layers.Block

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)

  def setup(self):
    self.inputs = Inputs(self.options)
    self.stack = layers.Stack(
      self.options, self.num_layers, self.causal, mixer=self.mixer
    )
    self.setup_heads()

  def __call__(
    self,
    tokens,
    *,
    segment_ids=None,
    positions=None,
    type_ids=None,
    prefix=None,
    rows=None,
    places=None,
    with_embedded=False,
    edit=None,
  ):
    """Returns the last hidden states [b, l, m].

    Args:
      tokens: int32 [b, l].
      segment_ids: int32 [b, l]; tokens see their own segment only; None is
        one segment.
      positions: int32 [b, l]; None is 0, 1, ...
      type_ids: int32 [b, l] of the segment embeddings; None is zeros.
      prefix: bool [b, l]; tokens that all of their segment see, although the
        model is causal.
      rows: int32 [b], see Dropout.
      places: where keys and values are kept, see ctxlm.models.cache.
      with_embedded: whether to return (hidden, embeddings) [b, l, m] each.
      edit: (hidden states [b, l, m], depth) -> others, of the embeddings, depth
        0, and after each block, from 1, unless they are scanned.
    """
    if positions is None:
      positions = jnp.arange(tokens.shape[1])[None]
    embedded = self.inputs(tokens, positions, type_ids, rows)
    if edit:
      embedded = edit(embedded, 0)
    hidden = self.stack(
      embedded,
      segment_ids=segment_ids,
      positions=positions,
      prefix=prefix,
      rows=rows,
      places=places,
      edit=edit,
    )
    return (hidden, embedded) if with_embedded else hidden
