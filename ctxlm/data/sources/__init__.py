"""Where examples come from.

A module here with a class `Source` is a plug-in, named in
`config.tasks.NAME.data.name`; a dotted name reaches one of a researcher's own.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


class Source(Protocol):
  """Text on the host: a frozen dataclass whose fields are its options."""

  def records(self, split) -> Sequence[dict[str, Any]]:
    """Returns the records of a split: `len(records)` and `records[i]`.

    Their fields are what the objective asks for: 'text' of a document, or
    'text_a', 'text_b' and 'negative', 'label', 'score'; 'prompt' and
    'completion'; 'turns' or 'messages' of a dialogue. They pickle, and open
    their files where they are read.

    Args:
      split: 'train', 'validation' or 'test'.

    Raises:
      UserError: no such split, or nothing that can be read.
    """

  def fingerprint(self, split) -> str:
    """Returns a hash of these records: others, another hash."""


@runtime_checkable
class OnDevice(Protocol):
  """Examples that need no host: a frozen dataclass, called inside the step.

  The loop then takes many steps a call, and objectives don't `prepare` them.

  Attributes:
    num_examples: how many an evaluation counts.
  """

  num_examples: int

  def example(self, key, step) -> dict[str, Any]:
    """Returns one example, {name: jax array}: all that its objective needs.

    Args:
      key: jax key of this example alone.
      step: int32 [] of training, which a curriculum goes by; None in
        evaluations.
    """
