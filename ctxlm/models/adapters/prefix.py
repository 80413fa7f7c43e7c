"""Prefix tuning (Li & Liang 2021, arXiv:2101.00190): trained keys and values.

Every query of an attention sees them beside the row's own, in every segment,
at no position. They are trained as they are, without the paper's MLP before
them (section 4.3), which is dropped once it is trained.
"""

import dataclasses
from typing import Annotated

from ctxlm.models import adapters, layers
from ctxlm.ranges import AboveZero, Count, Pattern


@dataclasses.dataclass(frozen=True)
class Adapter:
  """In each attention that is met.

  Attributes:
    length: keys and values of a layer.
    stddev: that they are drawn with.
    target: found in the path of an attention.
    trained: see adapters.Adapter.
  """

  length: Count = 16
  stddev: AboveZero = 0.02
  target: Annotated[str, Pattern()] = 'attention$'
  trained: Annotated[str, Pattern()] = '^heads/'

  scope = 'prefix'
  around = 'attention of ours'

  def intercept(self, call, args, kwargs, context, rows):
    """See adapters.Adapter."""
    module = context.module
    if context.method_name != 'before' or not adapters.found(
      self.target, context
    ):
      return call(*args, **kwargs)
    o = module.options
    shape = (
      self.length,
      o.num_kv_heads or o.num_heads,
      o.head_dim or o.hidden_size // o.num_heads,
    )
    init = layers.normal(self.stddev)
    return tuple(
      adapters.param(module, self.scope, name, init, shape)
      for name in ('key', 'value')
    )

  def merge(self, params):
    """See adapters.Adapter."""
    return None
