"""Semantic textual similarity: Spearman's rank correlation, all pairs.

The cosine of two sentences' vectors against people's scores. Pairs of all
subsets are ranked together ('all', SimCSE appendix B), not averaged.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from ctxlm import objectives, plugins
from ctxlm.errors import UserError
from ctxlm.evaluators.metrics import bootstrap, labels

PAIR = ('text_a', 'text_b')


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Judges a contrastive task's vectors.

  Attributes:
    data: ctxlm.data.sources.Source whose records have 'text_a', 'text_b' and
      'score'.
    task: the contrastive task; '' is the first.
    split: of the data.
  """

  data: Any = plugins.field('data.sources')
  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns spearman_all with its interval, and the number of pairs."""
    if not self.data:
      raise UserError('evaluator sts needs data: {name, ...}')
    task = bench.task(self.task)
    if not isinstance(task.objective, objectives.Embeds):
      raise UserError(f'evaluator sts: task {task.name!r} is not contrastive')
    records = self.data.records(self.split)
    rows, scores = [], []
    for i in range(len(records)):
      record = records[i]
      for name in (*PAIR, 'score'):
        if name not in record:
          raise UserError(
            f'evaluator sts needs the field {name!r}; the data has '
            f'{sorted(record)}'
          )
      score = record['score']
      if score in (None, ''):
        continue  # as SentEval does: not every pair was judged
      try:
        scores.append(float(score))
      except (TypeError, ValueError):
        scores.append(math.nan)
      if not math.isfinite(scores[-1]):
        raise UserError(
          f'evaluator sts: the score of pair {i} is {score!r}, no number'
        )
      for name in PAIR:
        text = record[name]
        if not isinstance(text, str) or not text.strip():
          raise UserError(
            f'evaluator sts: pair {i} has no text in {name!r}: {text!r}'
          )
        rows.append(task.objective.row(text))
      if bench.enough(len(scores)):
        break
    if not scores:
      raise UserError('evaluator sts: no pair of the data has a score')
    vectors = bench.vectors(task, rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-8)
    cosines = (vectors[0::2] * vectors[1::2]).sum(1)
    score = labels.spearman(cosines, np.array(scores), 'spearman_all')
    return bootstrap.figures(score, len(scores)) | {'pairs': len(scores)}
