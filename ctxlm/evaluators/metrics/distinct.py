"""distinct-n (Li et al. 2016, arXiv:1510.03055, section 5.3).

The number of different n-grams over the number of all, of all texts together.
It falls with their number, so only sets of one size compare.
"""

import dataclasses
from typing import Annotated

import numpy as np
from scipy import sparse

from ctxlm.ranges import Range


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives 'distinct_N', 0 to 1; words are what stands between spaces.

  Attributes:
    orders: each N.
  """

  orders: Annotated[tuple[int, ...], Range('[1, 100]')] = (1, 2)

  halves = True

  def measure(self, texts, references):
    """See metrics.Metric; references are not looked at."""
    del references
    words = [text.split() for text in texts]
    counts = {n: _incidence(words, n) for n in self.orders}

    def score(weights):
      out = {}
      for n, (there, totals) in counts.items():
        different = ((weights @ there) > 0).sum(1)
        out[f'distinct_{n}'] = different / np.maximum(weights @ totals, 1)
      return out

    return score, ''


def _incidence(texts, n):
  # (whether a text has an n-gram [n texts, n-grams], each text's n-grams).
  places, rows, columns, totals = {}, [], [], []
  for i, words in enumerate(texts):
    grams = list(zip(*(words[k:] for k in range(n))))
    totals.append(len(grams))
    for gram in set(grams):
      rows.append(i)
      columns.append(places.setdefault(gram, len(places)))
  shape = len(texts), len(places)
  ones = np.ones(len(rows))
  return sparse.csr_array((ones, (rows, columns)), shape), np.array(totals)
