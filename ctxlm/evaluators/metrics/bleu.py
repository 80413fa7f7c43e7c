"""BLEU (Papineni et al. 2002), by sacrebleu, with its signature."""

import dataclasses
from typing import Literal

from ctxlm.evaluators import metrics
from ctxlm.evaluators.metrics import sacre


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives 'bleu', 0 to 100, of the corpus.

  Attributes:
    tokenize: sacrebleu's tokenizer; 'zh' is for Chinese, and 'none' for texts
      that are tokenized already.
    lowercase: whether case is no matter.
  """

  tokenize: Literal['13a', 'intl', 'zh', 'char', 'none'] = '13a'
  lowercase: bool = False

  halves = False

  def measure(self, texts, references):
    """See metrics.Metric."""
    library = metrics.imported('sacrebleu')
    metric = library.BLEU(lowercase=self.lowercase, tokenize=self.tokenize)
    return sacre.measure('bleu', metric, texts, references)
