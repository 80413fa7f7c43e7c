"""LoRA (Hu et al. 2022, arXiv:2106.09685): W x + scale * B A x.

W is frozen; A and B are of a low rank, and B begins as zeros, so that the
model begins as what it was. A is uniform in +-1 / sqrt(inputs), as PEFT's.
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from ctxlm import trees
from ctxlm.errors import UserError
from ctxlm.models import adapters
from ctxlm.models import dropout as dropout_lib
from ctxlm.ranges import AboveZero, BelowOne, Count, Pattern


@dataclasses.dataclass(frozen=True)
class Adapter:
  """Around each linear map that is met.

  Attributes:
    rank: of A and B.
    alpha: the scale is alpha / rank.
    rslora: whether it is alpha / sqrt(rank) (Kalajdzievski 2023,
      arXiv:2312.03732).
    dropout: of A's input.
    target: found in the path of a linear map; 'stack/' are all of the body.
    trained: see adapters.Adapter.
  """

  rank: Count = 8
  alpha: AboveZero = 16.0
  rslora: bool = False
  dropout: BelowOne = 0.0
  target: Annotated[str, Pattern()] = '(query|value)$'
  trained: Annotated[str, Pattern()] = '^heads/'

  scope = 'lora'
  around = 'linear map'

  @property
  def scale(self):
    """What B A x is times."""
    return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

  def intercept(self, call, args, kwargs, context, rows):
    """See adapters.Adapter.

    Raises:
      UserError: the target is an embedding, or of an unusual kind.
    """
    out, module = call(*args, **kwargs), context.module
    if not adapters.meets(self.target, context):
      return out
    path = '/'.join(module.path)
    if isinstance(module, nn.Embed):
      raise UserError(
        f'config.adapt.target={self.target!r} meets {path}, an embedding, and '
        "LoRA is around linear maps: such as 'stack/', all of the body"
      )
    if not isinstance(module, (nn.Dense, nn.DenseGeneral)):
      return out
    (x,) = args
    axes = _inner(module, x.ndim, path)
    inner, outer = x.shape[x.ndim - axes :], out.shape[x.ndim - axes :]
    size = 1
    for n in inner:
      size *= n

    def init(key, shape):
      return jax.random.uniform(key, shape, minval=-1, maxval=1) * size**-0.5

    a = adapters.param(module, self.scope, 'a', init, (*inner, self.rank))
    b = adapters.param(
      module, self.scope, 'b', adapters.zeros, (self.rank, *outer)
    )
    x = x.astype(out.dtype)
    if self.dropout and rows is not None:
      own = module.scope.push(self.scope, reuse=True)
      key = jax.random.key_data(own.make_rng('dropout'))
      keep = dropout_lib.keep_mask(key, rows, x.shape, self.dropout)
      x = dropout_lib.drop(x, keep, self.dropout)
    low = jnp.tensordot(x, a.astype(out.dtype), axes)
    return out + self.scale * jnp.tensordot(low, b.astype(out.dtype), 1)

  def merge(self, params):
    """See adapters.Adapter: W + scale * A B, float32."""
    flat = trees.flatten(params)
    for path in [p for p in flat if p.endswith('/lora/a')]:
      module = path.removesuffix('/lora/a')
      a, b = flat.pop(path), flat.pop(f'{module}/lora/b')
      kernel = flat[f'{module}/kernel']
      product = _product
      if kernel.ndim == a.ndim + b.ndim - 3:  # stacked layers
        product = jax.vmap(_product)
      flat[f'{module}/kernel'] = kernel + self.scale * product(a, b)
    return trees.nest(flat)


def _product(a, b):
  return jnp.tensordot(a, b, 1, precision='highest')


def _inner(module, dims, path):
  # How many of the last axes a linear map takes together.
  if isinstance(module, nn.Dense):
    return 1
  axis = module.axis if isinstance(module.axis, tuple) else (module.axis,)
  axis = tuple(sorted(a % dims for a in axis))
  if axis != tuple(range(dims - len(axis), dims)) or module.batch_dims:
    raise UserError(
      f'config.adapt.target meets {path}, which maps other axes than the last: '
      'LoRA is not made for that'
    )
  return len(axis)
