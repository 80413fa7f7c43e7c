"""ROUGE (Lin 2004), by rouge-score, whose numbers follow ROUGE-1.5.5."""

import dataclasses
from importlib import metadata

import numpy as np

from ctxlm.evaluators import metrics

KINDS = ('rouge1', 'rouge2', 'rougeL', 'rougeLsum')


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives the mean F of KINDS, 0 to 1; of several references the best one's.

  Of 'rougeLsum' each line is a sentence.

  Attributes:
    stemmer: whether words count by their stems (Porter's, of English).
  """

  stemmer: bool = True

  halves = False

  def measure(self, texts, references):
    """See metrics.Metric."""
    scorer = metrics.imported('rouge-score', 'rouge_score.rouge_scorer')
    metrics.need_references('rouge', references)
    scorer = scorer.RougeScorer(KINDS, use_stemmer=self.stemmer)
    found = [scorer.score_multi(r, t) for t, r in zip(texts, references)]
    values = {k: np.array([one[k].fmeasure for one in found]) for k in KINDS}
    stemmer = 'yes' if self.stemmer else 'no'
    version = metadata.version('rouge-score')
    return metrics.means(values), f'stemmer:{stemmer}|rouge-score:{version}'
