"""How an objective reads its data: random access to numpy examples.

A module here has a class `View` and is named by `objective.view`; a dotted
name reaches one of a researcher's own.
"""

from typing import Any, Protocol, runtime_checkable


class View(Protocol):
  """Examples of one split, as an objective prepares them.

  Workers of the loader are sent it, so it pickles, and small: files are opened
  where it is read.

  Attributes:
    fingerprint: hash of all that decides what `read` gives; a resumed run must
      find the same.
  """

  fingerprint: str

  @classmethod
  def open(cls, records, fingerprint, tokenizer, max_length, objective):
    """Returns the view of a source's records.

    Args:
      records: random access, see ctxlm.data.sources.Source.
      fingerprint: hash of these records.
      tokenizer: a Tokenizer.
      max_length: tokens in a row.
      objective: whose options the view reads, such as `overlap`.

    Raises:
      UserError: no text in the records, or a field that they lack.
    """

  def __len__(self) -> int:
    """Returns the number of examples."""

  def read(self, i, rng) -> dict[str, Any]:
    """Returns example i, a pure function of i and the draws of `rng`.

    Args:
      i: int, 0 <= i < len.
      rng: numpy Generator of this example alone.
    """


@runtime_checkable
class Contiguous(Protocol):
  """A View of one text, of which an example may begin at any token.

  So the loader can cut it into streams, one for each row of the batches.

  Attributes:
    size: tokens that have one before them, which predicts them.
    length: tokens that an example predicts, at most.
  """

  size: int
  length: int

  def cut(self, start, stop) -> dict[str, Any]:
    """Returns the example of tokens `start` to `stop`, both included.

    Args:
      start, stop: int, 0 <= start < stop <= size, stop - start <= length.
    """
