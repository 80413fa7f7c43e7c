"""Precision, recall and F1 of entities, by seqeval, as conlleval has them.

Tjong Kim Sang & Buchholz 2000, CoNLL-2000's: an entity is right if its words
and its type are; counts are of the corpus.
"""

from importlib import metadata

import numpy as np

from ctxlm.errors import UserError
from ctxlm.evaluators import metrics
from ctxlm.evaluators.metrics import labels


def measure(found, references):
  """Returns (score, signature) of 'precision', 'recall' and 'f1', 0 to 1.

  See metrics.Metric.

  Args:
    found: a list of tags for each sentence, such as ['B-NP', 'I-NP', 'O'].
    references: the same of the right ones.

  Raises:
    UserError: a sentence has not as many tags of both.
  """
  module = 'seqeval.metrics.sequence_labeling'
  entities = metrics.imported('seqeval', module).get_entities
  counts = []
  for i, (own, right) in enumerate(zip(found, references, strict=True)):
    if len(own) != len(right):
      raise UserError(
        f'sentence {i} has {len(right)} tags, and {len(own)} were found'
      )
    own, right = set(entities(list(own))), set(entities(list(right)))
    counts.append((len(own & right), len(own), len(right)))
  counts = np.array(counts, float)

  def score(weights):
    right, found, wanted = (weights @ counts).T
    return {
      'precision': right / np.maximum(found, 1),
      'recall': right / np.maximum(wanted, 1),
      'f1': labels.f1(right, found, wanted),
    }

  return score, f'scheme:conlleval|seqeval:{metadata.version("seqeval")}'
