"""Records as they are, for objectives that tokenise on the fly."""

import dataclasses
from typing import Any

from ctxlm import files
from ctxlm.data.sources import units
from ctxlm.data.sources.records import WholeFiles
from ctxlm.errors import UserError, note


@dataclasses.dataclass(frozen=True)
class View:
  """The records' raw fields; the sentences, where records are whole files."""

  records: Any
  fingerprint: str

  @classmethod
  def open(cls, records, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View.

    Raises:
      UserError: no records.
    """
    del tokenizer, max_length, objective  # the objective cuts and tokenises
    if not len(records):
      raise UserError('the data has no records: is the file or split empty?')
    if isinstance(records, WholeFiles):
      note(
        'each file of the data is one text, so its sentences are taken: set '
        "data.unit='sentence' or 'paragraph', data.separator='line', or "
        "separator='file' to keep the files whole"
      )
      fingerprint = files.digest(fingerprint, *units.key('sentence'))
      records = units.choose(records, None, 'sentence', fingerprint)
    return cls(records, files.digest('texts', fingerprint))

  def __len__(self):
    return len(self.records)

  def read(self, i, rng):
    """Returns record i."""
    del rng  # nothing is drawn
    return self.records[int(i)]
