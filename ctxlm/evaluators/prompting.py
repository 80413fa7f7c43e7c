"""Demonstrations and a query as ids, cut at whole demonstrations."""

import dataclasses

from ctxlm.data import framing
from ctxlm.errors import UserError, note


@dataclasses.dataclass(frozen=True)
class Prompt:
  """What a model is asked.

  Attributes:
    text: demonstrations and query.
    context: its ids.
    options: ids of each option, which are asked after the context.
    dropped: demonstrations that had no room.
    cut: whether the query alone has lost its beginning.
  """

  text: str
  context: tuple
  options: tuple
  dropped: int
  cut: bool


class Prompter:
  """Joins texts, and makes them ids.

  Ids are those of a context with its option as one text, of which the
  context's own number is taken off, and a space between them is the option's:
  so lm-evaluation-harness has it, and so a tokenizer of words meets them.
  """

  def __init__(self, tokenizer, frame, separator, instruction):
    """Settles how.

    Args:
      tokenizer: the model's.
      frame: framing.Frame whose first ids begin what it reads.
      separator: text between demonstrations, and before the query.
      instruction: text before all.
    """
    self._tokenizer, self._frame = tokenizer, frame
    self._first = tuple(frame.first)
    self._separator, self._instruction = separator, instruction

  def bare(self):
    """Returns the Prompter without an instruction."""
    return Prompter(self._tokenizer, self._frame, self._separator, '')

  def joined(self, shots, query):
    """Returns the text of demonstrations and a query."""
    return self._instruction + self._separator.join([*shots, query])

  def ask(self, shots, query, options, room):
    """Returns the Prompt of options behind a query.

    Args:
      shots: texts of demonstrations, the far one first.
      query: text.
      options: texts.
      room: ids that the model may be shown; None is any number.
    """
    return self._fitting(
      shots, query, room, lambda text: self._pairs(text, options)
    )

  def whole(self, shots, queries, room):
    """Returns the Prompts of whole queries, with the separator before them.

    Args:
      shots, room: as in `ask`.
      queries: texts, one with each option.
    """
    made = [
      self._fitting(
        shots, '', room, lambda text, own=query: self._pairs(text, [own])
      )
      for query in queries
    ]
    # All are asked behind the same demonstrations.
    most = max(prompt.dropped for prompt in made)
    if any(prompt.dropped < most for prompt in made):
      shots = shots[most:]
      again = self.whole(shots, queries, room)
      return [dataclasses.replace(p, dropped=most) for p in again]
    return made

  def open(self, shots, query, room):
    """Returns the Prompt after which a text is written."""

    def ids(text):
      return self._encode(text.rstrip(' ')), [()]

    return self._fitting(shots, query, room, ids)

  def _fitting(self, shots, query, room, ids):
    for dropped in range(len(shots) + 1):
      text = self.joined(shots[dropped:], query)
      context, options = ids(text)
      if not (self._first or context):
        context = [self._begins()]
      # Of an option the last id is not read.
      longest = max(map(len, options))
      left = None if room is None else room - max(longest - 1, 0)
      if left is None or len(self._first) + len(context) <= left:
        context = (*self._first, *context)
        return Prompt(text, context, tuple(options), dropped, False)
    context = framing.ending(context, self._first, max(left, 1))
    return Prompt(text, tuple(context), tuple(options), len(shots), True)

  def _begins(self):
    if self._tokenizer.bos_id is None:
      raise UserError(
        'the tokenizer has no token that begins a text: let the template have '
        'one before the answer'
      )
    return self._tokenizer.bos_id

  def _pairs(self, text, options):
    bare = text.rstrip()
    context = self._encode(bare)
    found = []
    for option in options:
      whole = self._encode(text + option)
      found.append(tuple(whole[len(context) :]))
      if not found[-1]:
        raise UserError(
          f'the option {option!r} is no token of its own behind '
          f'{text[-20:]!r}: change the template, or the option'
        )
    return context, found

  def _encode(self, text):
    return self._tokenizer.encode(text, data=True)


def say_cut(prompts, room):
  """Notes how many prompts have lost more than their demonstrations."""
  cut = sum(prompt.cut for prompt in prompts)
  if cut:
    note(
      f'evaluator few_shot: {cut} prompts are longer than the {room} tokens '
      'that the model is shown, without any demonstration: they lose their '
      'beginning'
    )
