"""A probe: the heads alone are trained, on what the frozen body says."""

import dataclasses
from typing import Annotated

from ctxlm.ranges import Pattern


@dataclasses.dataclass(frozen=True)
class Adapter:
  """Nothing is added.

  Attributes:
    trained: see adapters.Adapter.
  """

  trained: Annotated[str, Pattern()] = '^heads/'

  scope = ''

  def intercept(self, call, args, kwargs, context, rows):
    """See adapters.Adapter."""
    del context, rows
    return call(*args, **kwargs)

  def merge(self, params):
    """See adapters.Adapter."""
    return params
