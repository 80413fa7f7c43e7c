"""How hidden states become one vector, as sentence-transformers has it.

Reimers & Gurevych 2019 (arXiv:1908.10084), section 3; positions as weights are
SGPT's (Muennighoff 2022, section 3.1). Linear maps may stand behind.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from ctxlm import ranges
from ctxlm.models import layers
from ctxlm.ranges import Count

KINDS = (
  'cls',
  'mean',
  'max',
  'mean_sqrt_len_tokens',
  'weightedmean',
  'lasttoken',
)
ACTIVATIONS = {'': lambda x: x} | layers.ACTIVATIONS


def pool(kind, hidden, segment_ids):
  """Returns one vector a row, float32 [b, m].

  Args:
    kind: of KINDS.
    hidden: [b, l, m].
    segment_ids: int32 [b, l], 0 where there is no token, behind the others.
  """
  hidden = hidden.astype(jnp.float32)
  if kind == 'cls':
    return hidden[:, 0]
  used = (segment_ids > 0)[..., None]
  if kind == 'max':
    return jnp.where(used, hidden, -jnp.inf).max(1)
  weights = used.astype(jnp.float32)
  if kind == 'lasttoken':
    last = jnp.maximum(weights.sum(1, keepdims=True) - 1, 0).astype(jnp.int32)
    return jnp.take_along_axis(hidden, last, axis=1)[:, 0]
  if kind == 'weightedmean':
    weights = weights * jnp.arange(1, hidden.shape[1] + 1)[:, None]
  total = jnp.maximum(weights.sum(1), 1)
  if kind == 'mean_sqrt_len_tokens':
    total = jnp.sqrt(total)
  return (hidden * weights).sum(1) / total


@dataclasses.dataclass(frozen=True)
class Dense:
  """A linear map behind the pooling.

  Attributes:
    size: numbers that it gives.
    activation: behind it, of ACTIVATIONS; '' is none.
    bias: whether it adds one.
  """

  size: Count
  activation: Literal[*ACTIVATIONS] = 'tanh'
  bias: bool = True


def read_dense(blocks, where):
  """Returns the tuple of Dense that blocks of a config, or JSON, describe.

  Raises:
    UserError: one describes none.
  """
  made = []
  for block in blocks:
    ranges.check_block(Dense, block, where)
    made.append(Dense(**block))
  return tuple(made)


class Chain(nn.Module):
  """Linear maps, one after the other.

  Attributes:
    maps: tuple of Dense.
    stddev: of the kernels at first.
  """

  maps: tuple
  stddev: float

  @nn.compact
  def __call__(self, x):
    """Returns [b, size of the last] of x [b, m]."""
    for i, one in enumerate(self.maps):
      x = nn.Dense(
        one.size,
        use_bias=one.bias,
        name=f'dense_{i}',
        kernel_init=layers.normal(self.stddev),
      )(x)
      x = ACTIVATIONS[one.activation](x)
    return x
