"""Bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751, figure 2).

h + up(act(down(h))), of the output h of each attention and each MLP, before it
joins the residual. `up` begins as zeros, so that the model begins as what it
was. As in the paper, norms are trained too.
"""

import dataclasses
from typing import Annotated, Literal

import jax.numpy as jnp

from ctxlm.models import adapters, layers
from ctxlm.ranges import Count, Pattern


@dataclasses.dataclass(frozen=True)
class Adapter:
  """Behind each layer that is met.

  Attributes:
    size: of the bottleneck.
    activation: see ctxlm.models.layers.ACTIVATIONS.
    target: found in the path of a layer whose output is an array.
    trained: see adapters.Adapter.
  """

  size: Count = 64
  activation: Literal[*layers.ACTIVATIONS] = 'gelu_tanh'
  target: Annotated[str, Pattern()] = r'layers(_\d+)?/(\w*attention|mixer|mlp)$'
  trained: Annotated[str, Pattern()] = '^heads/|norm/'

  scope = 'adapter'
  around = 'layer'

  def intercept(self, call, args, kwargs, context, rows):
    """See adapters.Adapter."""
    out, module = call(*args, **kwargs), context.module
    if not adapters.meets(self.target, context):
      return out
    m, size = out.shape[-1], self.size

    def normal(key, shape):
      return layers.normal(0.02)(key, shape, jnp.float32)

    def dense(x, name, init, *shape):
      at = f'{self.scope}/{name}'
      kernel = adapters.param(module, at, 'kernel', init, shape)
      bias = adapters.param(module, at, 'bias', adapters.zeros, shape[1:])
      return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)

    low = layers.ACTIVATIONS[self.activation](
      dense(out, 'down', normal, m, size)
    )
    return out + dense(low, 'up', adapters.zeros, size, m)

  def merge(self, params):
    """See adapters.Adapter."""
    return None
