"""How passages are found: texts in, and how near each is to another one.

A module here with a class `Retriever` is a plug-in, named in an objective's
option `retriever`; a dotted name reaches one of a researcher's own.
"""

from typing import Any, Protocol


class Retriever(Protocol):
  """A frozen dataclass whose fields are its options.

  Attributes:
    key: tuple of all that decides what it finds.
  """

  key: tuple

  def index(self, texts, tokenizer) -> Any:
    """Returns an Index of texts, [int [n]] of the run's ids.

    Raises:
      UserError: a package or a folder that it needs isn't there.
    """


class Index(Protocol):
  """What is known of the texts."""

  def scores(self, queries) -> Any:
    """Returns float32 [q, t], how near each text is to queries [int [n]].

    What isn't more than 0 is not near at all.
    """
