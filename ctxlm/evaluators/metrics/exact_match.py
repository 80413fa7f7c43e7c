"""The share of texts that are a reference, space around it aside."""

import dataclasses

import numpy as np

from ctxlm.evaluators import metrics


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives 'exact_match', 0 to 1."""

  halves = False

  def measure(self, texts, references):
    """See metrics.Metric."""
    metrics.need_references('exact_match', references)
    found = [
      text.strip() in map(str.strip, own)
      for text, own in zip(texts, references)
    ]
    return metrics.means({'exact_match': np.array(found, float)}), ''
