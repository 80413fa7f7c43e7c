"""BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): biases are trained."""

import dataclasses
from typing import Annotated

from ctxlm.models.adapters import probe
from ctxlm.ranges import Pattern


@dataclasses.dataclass(frozen=True)
class Adapter(probe.Adapter):
  """Biases, those of the norms included, and heads."""

  trained: Annotated[str, Pattern()] = '^heads/|/bias$'
