"""A function that was compiled for a placement."""

import dataclasses
from collections.abc import Callable

from ctxlm.parallel import processes


@dataclasses.dataclass(frozen=True)
class Compiled:
  """Calls a compiled function, or lowers it for shapes.

  Attributes:
    lower: function of arguments, or their jax.ShapeDtypeStructs with
      shardings, to jax.stages.Lowered; no device need be here.
    run: function of arguments.
  """

  lower: Callable
  run: Callable

  def __call__(self, *args):
    """Returns the function's results."""
    return processes.settled(self.run(*args))
