"""What sacrebleu's metrics have in common (Post 2018, arXiv:1804.08771)."""

import numpy as np

from ctxlm.evaluators import metrics
from ctxlm.evaluators.metrics import bootstrap


def measure(name, metric, texts, references):
  """See metrics.Metric.

  Args:
    name: of the figure, 0 to 100.
    metric: a sacrebleu.metrics.base.Metric.
    texts, references: see there.
  """
  metrics.need_references(name, references)
  most = max(map(len, references))
  columns = [
    [own[i] if i < len(own) else None for own in references]
    for i in range(most)
  ]
  # Every metric of sacrebleu is a function of such sums over the examples.
  statistics = np.array(metric._extract_corpus_statistics(texts, columns))

  def score(weights):
    sums = np.rint(weights @ statistics).astype(int).tolist()
    found = [metric._compute_score_from_stats(row).score for row in sums]
    return {name: np.array(found)}

  metric.n_bootstrap, metric.seed = bootstrap.SAMPLES, bootstrap.SEED
  return score, str(metric.get_signature())
