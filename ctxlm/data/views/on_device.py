"""Examples that the compiled step makes; the host counts them only."""

import dataclasses
from typing import Any

from ctxlm import files


@dataclasses.dataclass(frozen=True)
class View:
  """Stands for a ctxlm.data.sources.OnDevice; there is nothing to read."""

  source: Any

  @property
  def fingerprint(self):
    """Hash of the source's options."""
    return files.digest(repr(self.source))

  def __len__(self):
    return self.source.num_examples
