"""How many FLOPs a program's step takes, from its trace: nothing is compiled.

Products of matrices and convolutions count, a multiplication and an addition
as two. What rematerialisation does again does not: so they are those of the
model, which its utilisation is told by (Chowdhery et al. 2022, appendix B), and
6 N D with attention for a language model.
"""

import functools
import math

import jax
import numpy as np
from jax.extend import core
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ctxlm.parallel.compiled import Compiled
from ctxlm.training import made_up


class Nowhere:
  """A placement where nothing runs: what is lowered is a trace."""

  axis = None
  shards = 1

  def put_shapes(self, batch):
    """See parallel.placement.Placement."""
    return batch

  def shardings(self, shapes):
    """See parallel.placement.Placement."""
    mesh = Mesh(np.array(jax.devices()[:1]), ('data',))
    return jax.tree.map(lambda _: NamedSharding(mesh, P()), shapes)

  def compile(self, function, donate=False, whole=0):
    """See parallel.placement.Placement; `lower` gives a jax ClosedJaxpr."""
    del donate, whole
    trace = jax.make_jaxpr(functools.partial(function, axis=None))
    return Compiled(trace, None)


def of_step(config, attention=False):
  """Returns the FLOPs of a step of a config that `made_up.without_data` gave.

  They are of all devices, of one step where a call takes many. Of a causal
  attention it computes, as in ctxlm.models.attention, more than the half that
  is not masked: 5/8 of long rows.

  Args:
    config: it.
    attention: whether to count attention's products alone.
  """
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.accumulation = 1
    for key, value in (('remat', 'none'), ('attention_backend', 'xla')):
      if key in config.model:
        config.model[key] = value
  return count(made_up.build(config, Nowhere()).lower().jaxpr, attention)


def count(jaxpr, attention=False):
  """Returns the FLOPs of a jaxpr; loops of unknown length turn once.

  Args:
    jaxpr: it.
    attention: whether to count only products of several batches of matrices,
      of rows and heads, as no linear map is one.

  >>> trace = jax.make_jaxpr(lambda x: x @ x)(np.ones((2, 2)))
  >>> count(trace.jaxpr)
  16
  """
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    each = [count(inner, attention) for inner in _inside(equation.params)]
    if name == 'dot_general':
      (over, _), (batches, _) = equation.params['dimension_numbers']
      if attention and len(batches) < 2:
        continue
      left = equation.invars[0].aval.shape
      size = math.prod(equation.outvars[0].aval.shape)
      total += 2 * size * math.prod(left[i] for i in over)
    elif name == 'conv_general_dilated' and not attention:
      kernel = equation.invars[1].aval.shape
      features = equation.params['dimension_numbers'].rhs_spec[0]
      size = math.prod(equation.outvars[0].aval.shape)
      total += 2 * size * math.prod(kernel) // kernel[features]
    elif name == 'scan':
      total += equation.params['length'] * sum(each)
    elif name == 'cond':
      total += max(each)
    else:
      total += sum(each)
  return total


def _inside(params):
  for value in jax.tree.leaves(
    list(params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
  ):
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value
