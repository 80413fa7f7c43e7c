"""Triples of inference: a premise, what follows of it, what contradicts it.

Gao et al. 2021 (arXiv:2104.08821), section 4.1, of SNLI and MultiNLI.
"""

import dataclasses
from typing import Any

from ctxlm import files, plugins
from ctxlm.data.sources import records, units
from ctxlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
  """Records {'text_a', 'text_b', 'negative'}, which contrastive reads.

  Each premise has as many as it has of both kinds. To be whole, it must be in
  one split of `data`.

  Attributes:
    data: ctxlm.data.sources.Source of pairs: 'text_a' is the premise, 'text_b'
      the hypothesis, and 'label' how it follows.
    entailment, contradiction: these labels.
  """

  data: Any = plugins.field('data.sources')
  entailment: str = 'entailment'
  contradiction: str = 'contradiction'

  def __post_init__(self):
    if not self.data:
      raise UserError('source triples needs data: {name, ...}')

  def records(self, split):
    """Returns the records of a split.

    Raises:
      UserError: there are none, or a pair lacks something.
    """

    def build(folder):
      writer = records.Writer(folder)
      for triple in self._triples(self.data.records(split)):
        writer.add(triple)
      writer.close()

    found = records.Store(
      files.folder('triples', self.fingerprint(split), build)
    )
    if not len(found):
      raise UserError(
        f'split {split!r}: no premise has hypotheses of both labels, '
        f'{self.entailment!r} and {self.contradiction!r}'
      )
    return found

  def _triples(self, pairs):
    kinds = self.entailment, self.contradiction
    found = {}  # premise: what follows, and what contradicts
    for i in range(len(pairs)):
      pair = pairs[i]
      units.check_fields(pair, ('text_a', 'text_b', 'label'), i)
      own = found.setdefault(pair['text_a'], ([], []))
      if str(pair['label']) in kinds:
        own[kinds.index(str(pair['label']))].append(pair['text_b'])
    for premise, (follows, contradicts) in found.items():
      for one, other in zip(follows, contradicts):
        yield {'text_a': premise, 'text_b': one, 'negative': other}

  def fingerprint(self, split):
    """Returns a hash of the pairs, and of the labels."""
    own = self.data.fingerprint(split), self.entailment, self.contradiction
    return files.digest('triples', *own)
