"""Language models of LSTM or GRU: Zaremba et al. 2014 (arXiv:1409.2329).

Embeddings, layers, softmax, and between each two of them dropout; nothing that
goes from a step to the next is dropped. AWD-LSTM (Merity et al. 2017,
arXiv:1708.02182) is the same with tied embeddings and dropout of other kinds.
"""

from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.models import dropout as dropout_lib
from ctxlm.models import heads, layers, states
from ctxlm.ranges import AboveZero, BelowOne, Count, Range, Whole

Rate = Annotated[float, Range('[0, 1)', -1)]


def lstm(state, inputs, kernel, bias):
  """Returns the next (c, h) of an LSTM with forget gate (Gers et al. 2000).

  c_t = f c_(t-1) + i g, h_t = o tanh(c_t), with the gates i, f, o and the
  candidate g of W x_t + U h_(t-1) + b, in torch's order i, f, g, o.

  Args:
    state: (c, h), [b, m] each.
    inputs: W x_t + b, [b, 4 m].
    kernel: U, [m, 4 m].
    bias: None.
  """
  del bias
  c, h = state
  i, f, g, o = jnp.split(inputs + h @ kernel, 4, axis=-1)
  c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
  return c, nn.sigmoid(o) * jnp.tanh(c)


def gru(state, inputs, kernel, bias):
  """Returns the next (h,) of a GRU (Cho et al. 2014), with torch's reset gate.

  h_t = (1 - z) n + z h_(t-1), n = tanh(W x_t + b + r (U h_(t-1) + bias)), the
  gates r and z of W x_t + U h_(t-1) + b, in torch's order r, z, n.

  Args:
    state: (h,), [b, m].
    inputs: W x_t + b, [b, 3 m].
    kernel: U, [m, 3 m].
    bias: [m].
  """
  (h,) = state
  r, z, n = jnp.split(inputs, 3, axis=-1)
  own = jnp.split(h @ kernel, 3, axis=-1)
  r, z = nn.sigmoid(r + own[0]), nn.sigmoid(z + own[1])
  n = jnp.tanh(n + r * (own[2] + bias))
  return ((1 - z) * n + z * h,)


CELLS = {'lstm': (lstm, 4, 2), 'gru': (gru, 3, 1)}  # with gates, and states


class Layer(nn.Module):
  """One layer over the rows; its state is zero where a segment begins.

  Attributes:
    size: units, m.
    cell: of CELLS.
    init_range: parameters begin uniformly in [-init_range, init_range]; None
      is 1 / sqrt(m), as torch has it.
    weight_dropout: rate of dropping entries of U, the same for all rows and
      steps of a batch (AWD-LSTM, section 2; DropConnect).
    dtype: of W x; the state is float32.
    forget_bias: what an LSTM's forget gates begin with beside their draw.
  """

  size: int
  cell: str = 'lstm'
  init_range: Any = None
  weight_dropout: float = 0.0
  dtype: str = 'float32'
  forget_bias: float = 0.0

  @nn.compact
  def __call__(self, x, *, segment_ids=None, rows=None, places=None, **_):
    """Returns [b, l, m] of x [b, l, n].

    With `places` it goes on from the state that is kept, and keeps the last.
    """
    cell, gates, kept_states = CELLS[self.cell]
    m = self.size
    most = m**-0.5 if self.init_range is None else self.init_range
    init = uniform(most)

    def begin(*args):
      drawn = init(*args)
      if not self.forget_bias:
        return drawn
      return drawn.at[m : 2 * m].add(self.forget_bias)

    inputs = layers.Linear(
      gates * m,
      kernel_init=init,
      bias_init=begin,
      dtype=jnp.dtype(self.dtype),
      name='input',
    )(x).astype(jnp.float32)
    kernel = self.param('recurrent', init, (m, gates * m))
    bias = None
    if self.cell == 'gru':
      bias = self.param('recurrent_bias', init, (m,))
    if self.weight_dropout and rows is not None:
      kernel = drop_shared(self, kernel, self.weight_dropout)
    begins = states.begins(x, segment_ids)

    def step(state, now):
      own, begin = now
      state = tuple(jnp.where(begin[:, None], 0.0, s) for s in state)
      state = cell(state, own, kernel, bias)
      return state, state[-1]

    state = (jnp.zeros((x.shape[0], m), jnp.float32),) * kept_states
    if places is not None:
      kept = self.variable('cache', 'state', lambda: state)
      state = kept.value
    times = inputs.swapaxes(0, 1), begins.swapaxes(0, 1)
    state, out = jax.lax.scan(step, state, times)
    if places is not None:
      kept.value = state
    return out.swapaxes(0, 1).astype(x.dtype)


def uniform(most):
  """Returns the initialiser that is uniform in [-most, most]."""
  between = nn.initializers.uniform(2 * most)
  return lambda *args: between(*args) - most


def drop_shared(module, x, rate):
  """Returns x [...] dropped by one mask, whatever rows a batch is cut into."""
  key = jax.random.key_data(module.make_rng('dropout'))
  row = jnp.zeros(1, jnp.int32)
  keep = dropout_lib.keep_mask(key, row, (1, *x.shape), rate)[0]
  return dropout_lib.drop(x, keep, rate)


class Model(states.Decoder, heads.Heads, nn.Module):
  """An LSTM, or GRU, of several layers.

  Attributes:
    vocab_size: tokens; the loop sets it to the tokenizer's where it is 0.
    hidden_size: units of a layer.
    num_layers: as named.
    cell: 'lstm' or 'gru'.
    embedding_size: of a token's vector; 0 is hidden_size.
    tie_embeddings: whether the softmax's vectors are the embeddings; the last
      layer then has their size, as in AWD-LSTM. It has biases either way.
    init_range: all parameters begin uniformly in [-init_range, init_range].
    dropout: of what the softmax reads; input_dropout: of the embeddings, and
      hidden_dropout: between layers, where they differ, -1 where they don't.
    variational: whether a row's dropout is the same at all of its steps (Gal &
      Ghahramani 2016; AWD-LSTM, 4.2).
    word_dropout: rate of dropping whole words of the embedding matrix, the
      same for all rows of a batch (AWD-LSTM, 4.3).
    weight_dropout: see Layer.
    max_length: tokens of a row, which is how far gradients reach back.
    dtype: of the computation but the state's; parameters are float32.
  """

  vocab_size: Whole = 0
  hidden_size: Count = 200
  num_layers: Annotated[int, Range('[1, 1000]')] = 2
  cell: Literal[*CELLS] = 'lstm'
  embedding_size: Whole = 0
  tie_embeddings: bool = False
  init_range: AboveZero = 0.1
  dropout: BelowOne = 0.0
  input_dropout: Rate = -1.0
  hidden_dropout: Rate = -1.0
  variational: bool = False
  word_dropout: BelowOne = 0.0
  weight_dropout: BelowOne = 0.0
  max_length: Count = 512
  dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'

  causal = True
  encoder_decoder = False
  context_length = None
  scan_layers = False

  def setup(self):
    dtype, init = jnp.dtype(self.dtype), uniform(self.init_range)
    embedding_size = self.embedding_size or self.hidden_size
    self.token_embed = nn.Embed(
      self.vocab_size, embedding_size, embedding_init=init, dtype=dtype
    )
    sizes = [self.hidden_size] * self.num_layers
    if self.tie_embeddings:
      sizes[-1] = embedding_size
    own = self.cell, self.init_range, self.weight_dropout, self.dtype
    self.layers = [Layer(size, *own) for size in sizes]
    inputs, hidden = (
      self.dropout if rate < 0 else rate
      for rate in (self.input_dropout, self.hidden_dropout)
    )
    rates = [inputs, *[hidden] * (self.num_layers - 1), self.dropout]
    self.drops = [dropout_lib.Dropout(rate, self.variational) for rate in rates]
    if self.tie_embeddings:
      self.output_bias = self.param('output_bias', init, (self.vocab_size,))
    else:
      self.lm_head = layers.Linear(
        self.vocab_size, kernel_init=init, bias_init=init, dtype=dtype
      )
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
    """Returns what the softmax reads [b, l, m]; see models.Carries."""
    del positions, type_ids
    x = self.token_embed(tokens)
    if self.word_dropout and rows is not None:
      words = jnp.ones(self.vocab_size, x.dtype)
      x = x * drop_shared(self, words, self.word_dropout)[tokens][..., None]
    first, *others = self.drops
    x = first(x, rows)
    for layer, drop in zip(self.layers, others, strict=True):
      x = layer(x, segment_ids=segment_ids, rows=rows, places=places)
      x = drop(x, rows)
    return x

  def logits(self, hidden):
    """Returns next-token logits float32 [..., v] of hidden [..., m]."""
    if not self.tie_embeddings:
      return self.lm_head(hidden).astype(jnp.float32)
    return self.token_embed.attend(hidden).astype(jnp.float32) + (
      self.output_bias
    )

  def to_write(self, params):
    """See decoding.Model."""
    return self, params
