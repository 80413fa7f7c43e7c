"""A decoder that reads passages beside its text, each encoded apart.

By cross-attention behind chosen layers, as RETRO does (Borgeaud et al. 2022,
arXiv:2112.04426, section 2.4) and Fusion-in-Decoder (Izacard & Grave 2021,
arXiv:2007.01282); by that and a gate; or at the output, as kNN-LM does with a
datastore (Khandelwal et al. 2020, arXiv:1911.00172, equation 3). Without
passages it is the Transformer that it is built of.
"""

import dataclasses
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.errors import UserError
from ctxlm.models import dropout as dropout_lib
from ctxlm.models import layers, transformer
from ctxlm.ranges import Range

TINY = np.finfo(np.float32).tiny  # stands for a probability of 0
# Of a gate at first: 0.88 of the text itself, as a model without passages has.
OPEN = nn.initializers.constant(2.0)


@dataclasses.dataclass(unsafe_hash=True)
class Options(transformer.Options):
  """Options of a Transformer, and how it reads passages.

  Attributes:
    reading: 'cross_attention', h' = h + c, c what h attends to of all
      passages' vectors; 'gate', h' = g h + (1 - g) c, g = sigmoid(W [h; c] +
      b), of each number of h; 'output', p' = g p + (1 - g) q, q the tokens
      that follow states of the passages that are like h, g = sigmoid(w h + b).
    passage_layers: behind which of the layers, from 1, they are attended to; 0
      is the embeddings. None at all is the one in the middle.
    passage_encoder_layers: of the encoder of passages.
    passage_encoder_causal: whether its tokens see those before them alone, as
      the text's do, and not both sides.
  """

  reading: Literal['cross_attention', 'gate', 'output'] = 'cross_attention'
  passage_layers: Annotated[tuple[int, ...], Range('[0, inf)')] = ()
  passage_encoder_layers: transformer.Depth = 2
  passage_encoder_causal: bool = False

  def __post_init__(self):
    super().__post_init__()
    if not self.causal:
      raise ValueError('a model that reads passages is causal')
    self.check_layers('passage_layers', '; 0 is the embeddings')
    if self.reading != 'output' and self.scan_layers:
      raise ValueError(
        f'scan_layers makes all layers one, and reading={self.reading!r} '
        'stands between two'
      )

  @property
  def kind(self):
    """See transformer.Options."""
    return Options

  @property
  def crossed(self):
    """The layers behind which passages are attended to."""
    if self.reading == 'output':
      return ()
    middle = (self.num_layers + 1) // 2
    return tuple(sorted(set(self.passage_layers))) or (middle,)


class Crossing(nn.Module):
  """Hidden states and what they attend to of passages; see Options.

  Attributes:
    options: the Model's.
  """

  options: Any

  @nn.compact
  def __call__(self, x, memory, memory_ids, segment_ids, rows, places):
    """Returns ([b, l, m], gates float32 [b, l] or None).

    Args:
      x: [b, l, m].
      memory: [b, k, m], the passages' vectors, or None where keys are kept.
      memory_ids: int32 [b, k], 1 where there is a token, or None likewise.
      segment_ids: int32 [b, l]; tokens of 1 see passages. None is all.
      rows, places: see layers.Attention.
    """
    o = self.options
    if memory_ids is None:
      some = places.memory_mask.any(-1)[:, 0]
    else:
      some = memory_ids.any(1)[:, None] & (segment_ids == 1)
    c = layers.Attention(o, cross=True, name='attention')(
      layers.make_norm(o, 'norm')(x),
      memory=memory,
      segment_ids=segment_ids,
      memory_segment_ids=memory_ids,
      rows=rows,
      places=places,
    )
    c = dropout_lib.Dropout(o.dropout)(c, rows)
    if o.reading == 'cross_attention':
      return x + jnp.where(some[..., None], c, 0), None
    g = layers.Linear(
      x.shape[-1],
      dtype=x.dtype,
      kernel_init=layers.normal(o.init_stddev),
      bias_init=OPEN,
      name='gate',
    )(jnp.concatenate([x, c], axis=-1))
    g = jnp.where(some[..., None], nn.sigmoid(g.astype(jnp.float32)), 1.0)
    mixed = g.astype(x.dtype) * x + (1 - g).astype(x.dtype) * c
    return mixed, g.mean(-1)


class Likeness(nn.Module):
  """The tokens that follow states like these, mixed with the model's own.

  Attributes:
    options: the Model's.
  """

  options: Any

  @nn.compact
  def __call__(self, x, logps, keys, tokens, seen):
    """Returns (log p float32 [b, l, v], gates float32 [b, l]).

    Args:
      x: [b, l, m], the text's hidden states.
      logps: float32 [b, l, v], log p of the model itself.
      keys: [b, k, m], hidden states of the passages.
      tokens: int32 [b, k], that follow them.
      seen: bool [b, l, k], which of them each state sees.
    """
    x, keys = x.astype(jnp.float32), keys.astype(jnp.float32)
    scale = self.param('scale', nn.initializers.ones, ())
    scores = scale * x.shape[-1] ** -0.5 * jnp.einsum('blm,bkm->blk', x, keys)
    shares = jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1)
    theirs = jax.vmap(lambda p, at, s: p.at[:, at].add(s))(
      jnp.zeros(logps.shape, jnp.float32), tokens, shares
    )
    g = layers.Linear(1, bias_init=OPEN, name='gate')(x)
    mixed = jnp.logaddexp(
      jax.nn.log_sigmoid(g) + logps,
      jax.nn.log_sigmoid(-g) + jnp.log(jnp.maximum(theirs, TINY)),
    )
    some = seen.any(-1, keepdims=True)
    gates = jnp.where(some, nn.sigmoid(g), 1.0)[..., 0]
    return jnp.where(some, mixed, logps), gates


class Model(Options, transformer.Model):
  """A Transformer with passages; see Options, and models.ReadsPassages.

  With reading='output' its hidden states are log p of the next token, which
  its `logits` give back.
  """

  def __post_init__(self):
    Options.__post_init__(self)
    nn.Module.__post_init__(self)

  def setup(self):
    super().setup()
    o = self.options
    if o.reading == 'output':
      self.likeness = Likeness(o)
      return
    fields = dataclasses.fields(transformer.Options)
    plain = transformer.Options(**{f.name: getattr(o, f.name) for f in fields})
    depth = self.passage_encoder_layers
    plain = dataclasses.replace(
      plain, num_layers=max(depth, 1), layer_mix=False
    )
    self.passage_encoder = layers.Stack(
      plain, depth, causal=self.passage_encoder_causal
    )
    self.crossings = {str(i): Crossing(o) for i in o.crossed}

  def __call__(self, tokens, **given):
    """See transformer.Model: of a text without passages."""
    hidden = super().__call__(tokens, **given)
    return self._own_logps(hidden) if self.reading == 'output' else hidden

  def logits(self, hidden):
    """See heads.Heads."""
    return hidden if self.reading == 'output' else super().logits(hidden)

  def _own_logps(self, hidden):
    return jax.nn.log_softmax(super().logits(hidden))

  def begin(self, params, prompts):
    """See decoder.Decoder."""
    if prompts.keep_hidden and self.reading == 'output':
      raise UserError(
        "config.model.reading='output' mixes distributions, and the strategy "
        'compares hidden states'
      )
    return super().begin(params, prompts)

  def go_on(self, tokens, source=None, source_segment_ids=None, **given):
    """See decoder.Decoder; the source [b, p, k] is passages."""
    if source is not None:
      return self.read_beside(tokens, source, source_segment_ids, **given)[0]
    if given['places'].memory_mask is None:
      return self(tokens, **given)
    return self._read(tokens, None, None, **given)[0]

  def read_beside(
    self, tokens, passages, passage_ids, *, rows=None, places=None, **given
  ):
    """See models.ReadsPassages; places as of a call."""
    b, p, k = passages.shape
    flat, ids = passages.reshape(b * p, k), passage_ids.reshape(b * p, k)
    positions = jnp.arange(k)[None]
    each = None if rows is None else (rows[:, None] * p + jnp.arange(p)).ravel()
    seen = dict(segment_ids=ids, positions=positions, rows=each)
    if self.reading == 'output':
      memory = super().__call__(flat, **seen)
      # The state at the last token of a passage is followed by nothing.
      memory, ids = memory[:, :-1], ids[:, 1:]
      following = flat[:, 1:].reshape(b, -1)
    else:
      embedded = self.inputs(flat, positions, None, each)
      memory, following = self.passage_encoder(embedded, **seen), None
    memory, ids = memory.reshape(b, -1, memory.shape[-1]), ids.reshape(b, -1)
    if places is not None and self.reading == 'output':
      kept = {'keys': memory, 'following': following, 'ids': ids}
      for name, value in kept.items():
        self.put_variable('cache', name, value)
    given |= dict(rows=rows, places=places)
    return self._read(tokens, (memory, following), ids, **given)

  def _read(self, tokens, memory, ids, *, segment_ids=None, **given):
    # Of tokens that all see passages whose keys are kept, ids is None.
    if self.reading == 'output':
      return self._read_output(tokens, memory, ids, segment_ids, **given)
    gates = []

    def edit(x, depth):
      if depth not in self.crossed:
        return x
      x, gate = self.crossings[str(depth)](
        x,
        None if memory is None else memory[0],
        ids,
        segment_ids,
        given.get('rows'),
        given.get('places'),
      )
      gates.append(gate)
      return x

    hidden = super().__call__(
      tokens, segment_ids=segment_ids, edit=edit, **given
    )
    if self.reading == 'cross_attention':
      return hidden, None
    return hidden, sum(gates) / len(gates)

  def _read_output(self, tokens, memory, ids, segment_ids, **given):
    if memory is None:
      names = 'keys', 'following', 'ids'
      *memory, ids = (self.get_variable('cache', name) for name in names)
    hidden = super().__call__(tokens, segment_ids=segment_ids, **given)
    seen = jnp.broadcast_to((ids > 0)[:, None], (*tokens.shape, ids.shape[1]))
    if segment_ids is not None:
      seen &= (segment_ids == 1)[..., None]
    return self.likeness(hidden, self._own_logps(hidden), *memory, seen)
