"""Parameter-efficient fine-tuning: what is trained where the body is frozen.

Named in `config.adapt.name`. An adapter works on any Flax module, ours or a
researcher's, without its knowing: it stands between the calls of its layers
(flax.linen.intercept_methods), and what it adds lies in the parameters' tree
below the layer that it is around, `.../query/lora/a`. So it is initialised,
sharded, saved and counted as all parameters are.
"""

import dataclasses
import functools
import re
from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp

from ctxlm import models, plugins, trees
from ctxlm.errors import UserError


class Adapter(Protocol):
  """A frozen dataclass; its fields are its options.

  Attributes:
    trained: regular expression of the paths that are trained beside what the
      adapter adds.
    scope: what the adapter adds is called so, below each layer that it is
      around; '' is of one that adds nothing.
  """

  trained: str
  scope: str

  def intercept(self, call, args, kwargs, context, rows) -> Any:
    """Returns a layer's output, with what the adapter adds.

    Args:
      call, args, kwargs, context: see flax.linen.intercept_methods.
      rows: int32 [b], by which dropout is drawn, or None: deterministic.
    """

  def merge(self, params) -> Any:
    """Returns parameters of the model alone, of the same function, or None."""


class Adapted:
  """Methods of a Model with an adapter around it; see `around`."""

  def apply(self, *args, **kwargs):
    """See flax.linen.Module.apply."""
    with nn.intercept_methods(_interceptor(self.adapter)):
      return super().apply(*args, **kwargs)

  def init_with_output(self, *args, **kwargs):
    """See flax.linen.Module.init_with_output."""
    with nn.intercept_methods(_interceptor(self.adapter)):
      return super().init_with_output(*args, **kwargs)

  def to_write(self, params):
    """See decoder.Decoder; what can be merged, is."""
    merged = self.adapter.merge(params)
    if merged is None:
      return super().to_write(params)
    return bare(self).to_write(merged)


def build(block, adapt=None, **extra):
  """Returns the Model of a config block, with the adapter of another.

  Args:
    block: as `config.model`.
    adapt: as `config.adapt`; empty, or None, is none.
    **extra: see plugins.build.

  Raises:
    UserError: see plugins.build.
  """
  model = plugins.build('models', block, **extra)
  if not adapt:
    return model
  if isinstance(model, models.Counts):
    raise UserError(
      f'config.adapt is of models that are trained, and config.model.name='
      f'{block["name"]!r} is counted'
    )
  return around(model, plugins.build('models.adapters', adapt))


def around(model, adapter):
  """Returns the model, of its own class still, with an adapter around it."""
  return _adapted(type(model))(**_options(model), adapter=adapter)


def bare(model):
  """Returns the model without its adapter."""
  if not isinstance(model, Adapted):
    return model
  options = _options(model)
  options.pop('adapter')
  return type(model).__mro__[2](**options)


def alike(model, adapter):
  """Whether a model has an adapter that computes the same of its parameters."""
  if not isinstance(model, Adapted):
    return False
  return _computes(model.adapter) == _computes(adapter)


def _computes(adapter):
  fields = dataclasses.asdict(adapter)
  how = {name: fields[name] for name in fields.keys() - {'dropout', 'trained'}}
  return type(adapter), how


def merged(model, params):
  """Returns (model, parameters) without adapters, of the same function.

  Raises:
    UserError: what it adds is of another shape than the model's own layers.
  """
  if not isinstance(model, Adapted):
    return model, params
  alone = model.adapter.merge(params)
  if alone is None:
    raise UserError(
      f"config.adapt.name={model.adapter.scope!r} can't be merged into the "
      'model: what it adds is no part of a layer that the model has'
    )
  return bare(model), alone


def _options(model):
  names = {f.name for f in dataclasses.fields(model) if f.init}
  return {n: vars(model)[n] for n in names - {'parent', 'name'}}


@functools.cache
def _adapted(cls):
  about = {
    '__module__': cls.__module__,
    '__doc__': cls.__doc__,
    '__annotations__': {'adapter': Any},
    'adapter': None,
  }
  return type(cls.__name__, (Adapted, cls), about)


def _interceptor(adapter):
  # Of the innermost call of a model: its rows, and whether the adapter is
  # its own. Another model may be called inside, see ctxlm.context.
  rows, ours = [None], [True]

  def intercept(call, args, kwargs, context):
    module = context.module
    if module.path:
      if not ours[-1]:
        return call(*args, **kwargs)
      return adapter.intercept(call, args, kwargs, context, rows[-1])
    rows.append(kwargs.get('rows'))
    ours.append(isinstance(module, Adapted) and module.adapter == adapter)
    try:
      return call(*args, **kwargs)
    finally:
      rows.pop()
      ours.pop()

  return intercept


def param(module, scope, name, init, shape):
  """Returns a parameter below a bound module's own, at `SCOPE/NAME`.

  Args:
    module: as an interceptor sees it.
    scope, name: of the parameter; there may be slashes in the former.
    init: (key, shape) -> float32 array.
    shape: as named.
  """
  place = module.scope
  for part in scope.split('/'):
    place = place.push(part, reuse=True)
  return place.param(name, init, shape)


def found(pattern, context):
  """Whether a pattern is found in the path of the module that is called."""
  return bool(re.search(pattern, '/'.join(context.module.path)))


def meets(pattern, context):
  """Whether `found`, and the call is the module's `__call__`."""
  return context.method_name == '__call__' and found(pattern, context)


def own(adapter, path):
  """Whether the parameter at a path is one that the adapter adds."""
  return bool(adapter.scope) and f'/{adapter.scope}/' in f'/{path}'


def frozen(adapter, shapes):
  """Returns the paths that an adapter leaves as they are.

  Args:
    adapter: Adapter.
    shapes: the parameters' tree, or their shapes'.

  Raises:
    UserError: it meets no layer, or trains nothing.
  """
  paths = list(trees.flatten(shapes))
  if adapter.scope and not any(own(adapter, p) for p in paths):
    there = sorted(
      {
        re.sub(r'layers_\d+', 'layers_N', p.rpartition('/')[0])
        for p in paths
        if p.endswith('/kernel')
      }
    )
    said = f'config.adapt.target={adapter.target!r} meets no '
    raise UserError(
      f'{said}{adapter.around}; linear maps are {", ".join(there)}'
    )
  kept = {
    p for p in paths if not (own(adapter, p) or re.search(adapter.trained, p))
  }
  if len(kept) == len(paths):
    raise UserError(
      f'config.adapt.trained={adapter.trained!r} meets no parameter, so '
      'nothing would be trained; the objective has no head, perhaps'
    )
  return frozenset(kept)


def zeros(key, shape):
  """Returns float32 zeros."""
  del key
  return jnp.zeros(shape, jnp.float32)
