"""Records as they are, each with another one that is drawn."""

import dataclasses

from ctxlm.data.views import texts


@dataclasses.dataclass(frozen=True)
class View(texts.View):
  """The records' raw fields, and 'other', another record's."""

  def read(self, i, rng):
    """Returns record i."""
    other = self.records[int(rng.integers(len(self)))]
    return {**self.records[int(i)], 'other': other}
