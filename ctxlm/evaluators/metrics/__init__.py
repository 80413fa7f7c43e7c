"""Texts against references: figures by the libraries that papers use.

A module here with a class `Metric` is a plug-in, named in an evaluator's
`metrics`; a dotted name reaches one of a researcher's own.
"""

import importlib
from typing import Protocol

from ctxlm.errors import UserError


class Metric(Protocol):
  """A frozen dataclass whose fields are its options.

  Attributes:
    halves: whether an example that is there twice distorts the figures, so
      that their intervals are of halves of the examples; see `bootstrap`.
  """

  halves: bool

  def measure(self, texts, references):
    """Returns (score, signature).

    `score(weights)` gives {name: float64 [b]}, the figures of b corpora, of
    which example i is in corpus j `weights[j, i]` times, float64 [b, n]. The
    signature says how they are computed, for those who compare.

    Args:
      texts: n strings.
      references: for each a list of strings.

    Raises:
      UserError: a library is not installed, or an example has no reference.
    """


def imported(name, module=''):
  """Returns a module that a metric needs.

  Args:
    name: of the package.
    module: of it; '' is the one of that name.

  Raises:
    UserError: it isn't installed.
  """
  try:
    return importlib.import_module(module or name)
  except ImportError as e:
    raise UserError(
      f"the metric needs {name}: pip install 'ctxlm[metrics]'"
    ) from e


def need_references(name, references):
  """Raises UserError if an example has none."""
  for i, own in enumerate(references):
    if not own:
      raise UserError(f'the metric {name}: example {i} has no reference')


def means(values):
  """Returns the `score` of figures that are means, {name: float [n]}."""
  return lambda weights: {
    name: weights @ own / weights.sum(1) for name, own in values.items()
  }
