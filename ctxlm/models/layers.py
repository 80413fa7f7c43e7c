"""Layers: normalisation, attention, MLP, and the stack of blocks."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm.errors import UserError
from ctxlm.models import attention as attention_lib
from ctxlm.models import cache as cache_lib
from ctxlm.models import dropout as dropout_lib
from ctxlm.models import positions as positions_lib
from ctxlm.parallel.layout import by_entries, by_rows

ACTIVATIONS = {
  # jax.nn.gelu goes through erfc, which takes twice the time on a CPU.
  'gelu': lambda x: 0.5 * x * (1 + jax.lax.erf(x * 2**-0.5)),
  'gelu_tanh': lambda x: nn.gelu(x, approximate=True),
  'relu': nn.relu,
  'silu': nn.silu,
  'tanh': jnp.tanh,
}


def normal(stddev):
  """Returns the initialiser of BERT and GPT-2: normal, 0.02 by default."""
  return nn.initializers.normal(stddev)


def make_norm(options, name):
  """Returns the LayerNorm or RMSNorm that the options ask for."""
  dtype = jnp.dtype(options.dtype)
  if options.norm == 'rmsnorm':
    return nn.RMSNorm(options.norm_epsilon, dtype=dtype, name=name)
  return nn.LayerNorm(
    options.norm_epsilon,
    dtype=dtype,
    use_bias=options.bias,
    use_fast_variance=False,
    name=name,
  )


def product(
  x, kernel, dimension_numbers, precision=None, preferred_element_type=None
):
  """The dot_general of linear maps, on rows: flattened to [n, k] @ [k, m].

  The gradient of the kernel is then one product of matrices as they lie in
  memory; of [b, l, m] XLA copies both for it on a CPU, and makes anew what
  gave them. Rows that lie on several devices can't be flattened.

  Args:
    x: [..., k...].
    kernel: [k..., m...].
    dimension_numbers: the last axes of x and the first of the kernel.
    precision, preferred_element_type: see jax.lax.dot_general.

  Returns:
    [..., m...].
  """
  more = dict(
    precision=precision, preferred_element_type=preferred_element_type
  )
  if jax.sharding.get_abstract_mesh().shape.get('sequence', 1) > 1:
    return jax.lax.dot_general(x, kernel, dimension_numbers, **more)
  axes = len(dimension_numbers[0][0])
  lead, rest = x.shape[: x.ndim - axes], kernel.shape[axes:]
  size = math.prod(kernel.shape[:axes])
  y = jax.lax.dot(x.reshape(-1, size), kernel.reshape(size, -1), **more)
  return y.reshape(*lead, *rest)


def _promoted(table, **kwargs):
  return [by_entries(x) for x in nn.dtypes.promote_dtype(table, **kwargs)]


Linear = functools.partial(nn.Dense, dot_general=product)
Embed = functools.partial(nn.Embed, promote_dtype=_promoted)


def projection(options, heads, name):
  """Returns the map of [b, l, m] to attention's [b, l, h, d]."""
  o = options
  return nn.DenseGeneral(
    (heads, o.head_dim or o.hidden_size // o.num_heads),
    use_bias=o.bias or o.attention_bias,
    dtype=jnp.dtype(o.dtype),
    kernel_init=normal(o.init_stddev),
    dot_general=product,
    name=name,
  )


def joined(options, size):
  """Returns the map of what attention gives [b, l, h, d] to [b, l, size]."""
  o = options
  return nn.DenseGeneral(
    size,
    axis=(-2, -1),
    use_bias=o.bias or o.attention_bias,
    dtype=jnp.dtype(o.dtype),
    kernel_init=normal(o.out_stddev),
    dot_general=product,
    name='out',
  )


class Attention(nn.Module):
  """Multi-head attention with projections (Vaswani et al. 2017, 3.2.2).

  Attributes:
    options: the Model that it is part of.
    causal: whether a query sees no later key.
    cross: whether keys and values come from `memory`.
  """

  options: Any
  causal: bool = False
  cross: bool = False

  @nn.compact
  def __call__(
    self,
    x,
    *,
    memory=None,
    bias=None,
    segment_ids=None,
    memory_segment_ids=None,
    positions=None,
    prefix=None,
    rows=None,
    places=None,
  ):
    """Returns [b, l, m] of x [b, l, m]; places: see ctxlm.models.cache."""
    o = self.options
    source = memory if self.cross else x
    q = projection(o, o.num_heads, 'query')(x)
    if source is not None:  # else they are kept, see ctxlm.models.cache
      groups = o.num_kv_heads or o.num_heads
      k = projection(o, groups, 'key')(source)
      v = projection(o, groups, 'value')(source)
    if o.position == 'rotary' and not self.cross:
      q = positions_lib.rotary(q, positions, o.rotary_base)
      k = positions_lib.rotary(k, positions, o.rotary_base)
    dropout, before = None, self.before()
    ahead = 0 if before is None else len(before[0])
    if o.attention_dropout and rows is not None:
      whole = o.num_heads, q.shape[1], ahead + k.shape[1]
      dropout = dropout_lib.of_weights(self, rows, o.attention_dropout, whole)
    seen = dict(
      causal=self.causal,
      window=None if self.cross else (o.window or None),
      q_segment_ids=segment_ids,
      kv_segment_ids=memory_segment_ids if self.cross else segment_ids,
      prefix=prefix,
    )
    scale = o.attention_scale or None
    if places is not None and source is not None:
      cache_lib.write(self, k, v, places)
    if self.is_mutable_collection('intermediates'):
      mask = attention_lib.make_mask(q.shape[1], k.shape[1], **seen)
      keys, more = k, bias
      if before is not None:
        keys, _, more, mask = attention_lib.with_before(
          before, k, v, bias, mask
        )
      weights = attention_lib.attention_weights(
        q, keys, bias=more, mask=mask, scale=scale
      )
      self.sow('intermediates', 'attention', weights[..., ahead:])
    if places is not None and places.slot is not None:
      out = cache_lib.attend(self, q, places, bias, scale, before)
    else:
      more = dict(dropout=dropout, scale=scale, before=before)
      try:
        out = attention_lib.attention(
          q, k, v, bias=bias, backend=o.attention_backend, **more, **seen
        )
      except attention_lib.Unsupported as e:
        raise UserError(
          f"{e}: config.model.attention_backend='auto' takes another"
        ) from e
    return joined(o, x.shape[-1])(out)

  def before(self):
    """Returns keys and values [n, g, d] that every query sees, or None.

    Here there are none; prefix tuning (ctxlm.models.adapters.prefix) has some.
    """
    return None


class MLP(nn.Module):
  """Two linear maps and an activation; gated as GLU variants are.

  Shazeer 2020 (arXiv:2002.05202): down(act(gate(x)) * up(x)).
  """

  options: Any

  @nn.compact
  def __call__(self, x, rows=None):
    """Returns [b, l, m] of x [b, l, m]."""
    o = self.options
    size = o.mlp_dim or 4 * o.hidden_size

    def dense(features, name, stddev=o.init_stddev):
      return Linear(
        features,
        use_bias=o.bias or o.mlp_bias,
        dtype=jnp.dtype(o.dtype),
        kernel_init=normal(stddev),
        name=name,
      )

    act = ACTIVATIONS[o.activation]
    hidden = dense(size, 'up')(x)
    if o.gated:
      hidden = act(dense(size, 'gate')(x)) * hidden
    else:
      hidden = act(hidden)
    hidden = dropout_lib.Dropout(o.mlp_dropout)(hidden, rows)
    return dense(x.shape[-1], 'down', o.out_stddev)(hidden)


# What a block's own attention is called with.
OWN = ('bias', 'segment_ids', 'positions', 'prefix', 'rows', 'places')


class Block(nn.Module):
  """Attention or another mixer, cross-attention to a memory, and MLP.

  Each has a residual, with the norm before ('pre', GPT-2) or after it
  ('post', BERT).
  """

  options: Any
  causal: bool = False
  cross: bool = False
  # Gives a Module, called as Attention is, in its place: a class of (options,
  # layer, name), or a function.
  mixer: Any = None
  layer: int = 0  # which block of the stack, from 0

  @nn.compact
  def __call__(self, x, call):
    """Returns ([b, l, m], what a scan stacks: the same, or None).

    Args:
      x: [b, l, m].
      call: keywords of Stack.
    """
    o = self.options
    rows = call.get('rows')

    def add(x, function, name):
      norm = make_norm(o, f'{name}_norm')
      if o.norm_position == 'pre':
        return x + dropout_lib.Dropout(o.dropout)(function(norm(x)), rows)
      return norm(x + dropout_lib.Dropout(o.dropout)(function(x), rows))

    own = {k: call.get(k) for k in OWN}
    if self.mixer is None:
      mixer = Attention(o, causal=self.causal, name='attention')
    else:
      mixer = self.mixer(o, layer=self.layer, name='mixer')
    x = add(x, lambda y: mixer(y, **own), mixer.name)
    if self.cross:
      cross = Attention(o, cross=True, name='cross_attention')
      seen = dict(
        memory=call['memory'],
        segment_ids=call.get('cross_segment_ids'),
        memory_segment_ids=call.get('memory_segment_ids'),
        rows=rows,
        places=call.get('places'),
      )
      x = add(x, lambda y: cross(y, **seen), 'cross_attention')
    if o.mlp_dim >= 0:
      mlp = MLP(o, name='mlp')
      x = add(x, lambda y: mlp(y, rows), 'mlp')
    self.sow('intermediates', 'hidden', x)
    return x, x if o.layer_mix else None


POLICIES = {
  'full': None,  # nothing is kept
  'dots': jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
}


class LayerMix(nn.Module):
  """A learned weighting of layers: Peters et al. 2018, equation 1.

  scale * sum_l softmax(weights)_l h_l; the mean at first.
  """

  @nn.compact
  def __call__(self, layers):
    """Returns [b, l, m] of layers [n, b, l, m]."""
    weights = self.param('weights', nn.initializers.zeros, (len(layers),))
    scale = self.param('scale', nn.initializers.ones, ())
    shares = (scale * jax.nn.softmax(weights)).astype(layers.dtype)
    return jnp.einsum('n,nblm->blm', shares, layers)


class Stack(nn.Module):
  """Blocks, one after the other; scanned or unrolled; rematerialised.

  Attributes:
    options: the Model's.
    num_layers: blocks.
    causal, cross, mixer: see Block.
  """

  options: Any
  num_layers: int
  causal: bool = False
  cross: bool = False
  mixer: Any = None

  @nn.compact
  def __call__(self, x, *, memory=None, edit=None, **call):
    """Returns [b, l, m] of x [b, l, m].

    Keywords: segment_ids, positions, prefix, rows, places; memory [b, k, m]
    with memory_segment_ids and cross_segment_ids where cross; edit, see
    ctxlm.models.transformer.Model.
    """
    o = self.options
    x = by_rows(x)
    call['memory'] = memory
    places = call.get('places')
    if places is None or places.relative is None:
      relative = positions_lib.relative(x.shape[1], x.shape[1])[None]
    else:
      relative = places.relative
    if o.position == 'alibi':
      call['bias'] = positions_lib.alibi(o.num_heads, relative)
    elif o.position == 't5':
      buckets = positions_lib.t5_buckets(
        relative,
        bidirectional=not self.causal,
        num_buckets=o.t5_buckets,
        max_distance=o.t5_max_distance,
      )
      table = nn.Embed(
        o.t5_buckets,
        o.num_heads,
        name='relative_position',
        embedding_init=normal(o.init_stddev),
      )
      call['bias'] = jnp.moveaxis(table(buckets), -1, -3)
    block = Block
    if o.remat != 'none':
      block = nn.remat(
        Block, policy=POLICIES[o.remat], prevent_cse=not o.scan_layers
      )
    if o.scan_layers:
      block = nn.scan(
        block,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=nn.broadcast,
        length=self.num_layers,
      )
      scanned = block(o, self.causal, self.cross, self.mixer, name='layers')
      first = x
      x, blocks = scanned(x, call)
      if o.layer_mix:
        x = jnp.concatenate([first[None], blocks])
    else:
      every = [x]
      for i in range(self.num_layers):
        kind = self.causal, self.cross, self.mixer, i
        x, _ = block(o, *kind, name=f'layers_{i}')(x, call)
        x = edit(x, i + 1) if edit else x
        every.append(x)
      x = jnp.stack(every) if o.layer_mix else x
    if o.final_norm:
      x = make_norm(o, 'final_norm')(x)
    x = LayerMix(name='layer_mix')(x) if o.layer_mix else x
    return dropout_lib.Dropout(o.output_dropout)(x, call.get('rows'))
