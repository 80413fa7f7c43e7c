"""BM25 (Robertson & Zaragoza 2009) over the run's own tokens, by bm25s.

How rare a token is, and how long texts are, is counted over all texts.
"""

import dataclasses
import logging
from typing import Any

import numpy as np

from ctxlm.errors import UserError
from ctxlm.ranges import Share, ZeroOrMore


@dataclasses.dataclass(frozen=True)
class Retriever:
  """By the tokens that texts share.

  Attributes:
    k1: how much it counts that a token comes again.
    b: how much longer texts count less.
  """

  k1: ZeroOrMore = 1.5
  b: Share = 0.75

  @property
  def key(self):
    """See retrievers.Retriever."""
    return 'bm25', self.k1, self.b, _library().__version__

  def index(self, texts, tokenizer):
    """See retrievers.Retriever."""
    counts = _library().BM25(k1=self.k1, b=self.b)
    ids = [text.tolist() for text in texts]
    vocabulary = {i: i for i in range(tokenizer.vocab_size)}
    # An empty token would be one more than the tokenizer has.
    counts.index(
      (ids, vocabulary), create_empty_token=False, show_progress=False
    )
    return Index(counts)


@dataclasses.dataclass(frozen=True)
class Index:
  """See retrievers.Index; `counts` is a bm25s.BM25."""

  counts: Any

  def scores(self, queries):
    """See retrievers.Index."""
    return np.stack([self.counts.get_scores_from_ids(q) for q in queries])


def _library():
  try:
    import bm25s
  except ImportError as e:
    raise UserError(
      "the retriever bm25 needs bm25s: pip install 'ctxlm[retrieval]'"
    ) from e
  logging.getLogger('bm25s').setLevel(logging.WARNING)
  return bm25s
