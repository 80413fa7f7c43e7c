"""Logit processors: pure functions of logits, composed in a list.

A module here with a frozen dataclass `Processor` is a plug-in, named in the
decoding config's list `processors`; a dotted name reaches a module of one's
own. The contract:

    processor(logits [n, v], text) -> logits [n, v]

with ctxlm.decoding.text.Text. What must not be written is -inf. One with a
state is an Automaton as well, and is called with it:
`processor(logits, text, state)`. A processor of ten lines:

    @dataclasses.dataclass(frozen=True)
    class Processor:
      token: int
      bonus: float = 1.0

      def __call__(self, logits, text):
        return logits.at[:, self.token].add(self.bonus)

One whose texts have a least length, in tokens, says it as `shortest`.

Options that the loop gives, where a class has them as fields: `tokenizer`,
`vocab_size`, `eos_ids`, and `least`, the tokens that a filter must leave.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Automaton(Protocol):
  """What carries a state, an array [n], from token to token."""

  def initial(self, n):
    """Returns the state of n rows before any new token."""

  def advance(self, state, tokens):
    """Returns the state after tokens int32 [n]."""
