"""chrF (Popović 2015), by sacrebleu, with its signature."""

import dataclasses

from ctxlm.evaluators import metrics
from ctxlm.evaluators.metrics import sacre
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Metric:
  """Gives 'chrf', 0 to 100, of the corpus.

  Attributes:
    word_order: words in a row that count beside characters; 2 is chrF++
      (Popović 2017).
  """

  word_order: Whole = 0

  halves = False

  def measure(self, texts, references):
    """See metrics.Metric."""
    library = metrics.imported('sacrebleu')
    metric = library.CHRF(word_order=self.word_order)
    return sacre.measure('chrf', metric, texts, references)
