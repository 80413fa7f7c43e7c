"""Dialogues: records to turns, and turns to ids, to learn from and to talk.

Turns are joined by the chat template of the tokenizer's own files, or each
ends with the token that ends a text (Zhang et al. 2020, arXiv:1911.00536,
section 2). What is too long loses its oldest turns, whole.
"""

import bisect
import functools

from ctxlm.data.tokenizers import chat_template
from ctxlm.errors import UserError

ROLES = ('system', 'user', 'assistant')
SPEAKERS = ('', 'assistant', 'user', 'all')
GOES_ON = 'TO_BE_CONTINUED '  # is looked for where a message goes on


class NoRoom(UserError):
  """Not even the newest turn, or the answer to it, fits."""


def messages(record):
  """Returns the turns of a record: ([{'role', 'content'}], whether by role).

  They are its 'messages', which have roles, or its 'turns', a list of texts;
  or a line's 'text', or 'text_a' and 'text_b'. The last of texts that have no
  roles is the assistant's, and the others' are by turns.

  Raises:
    UserError: it has none of these, a role that isn't known, or no texts.
  """
  if 'messages' in record:
    found = _list(record, 'messages')
    return [_message(one, n) for n, one in enumerate(found, 1)], True
  if 'turns' in record:
    texts = _list(record, 'turns')
  else:
    names = [n for n in ('text', 'text_a', 'text_b') if n in record]
    if not names:
      raise UserError(
        "a dialogue is 'messages' or 'turns', and the data has "
        f'{", ".join(sorted(record))}: name it in config.tasks.NAME.data.fields'
      )
    texts = [record[n] for n in names]
  for number, text in enumerate(texts, 1):
    _check_text(text, number)
  return alternating(texts), False


def alternating(texts, last='assistant'):
  """Returns texts as messages; the last one is of that role."""
  roles = (last, *(role for role in ROLES[1:] if role != last))
  count = len(texts)
  return [
    {'role': roles[(count - 1 - i) % 2], 'content': text}
    for i, text in enumerate(texts)
  ]


def _list(record, name):
  value = record[name]
  if not isinstance(value, (list, tuple)) or not value:
    raise UserError(f'the field {name!r} is no list of turns: {value!r}')
  return value


def _message(one, number):
  if not isinstance(one, dict) or not {'role', 'content'} <= one.keys():
    raise UserError(f"turn {number} is no object with 'role' and 'content'")
  if one['role'] not in ROLES:
    raise UserError(
      f'turn {number} has the role {one["role"]!r}; roles are '
      f'{", ".join(ROLES)}'
    )
  _check_text(one['content'], number)
  return {'role': one['role'], 'content': one['content']}


def _check_text(text, number):
  if not isinstance(text, str):
    raise UserError(f'turn {number} is no text: {text!r}')


def answers(turns, named, speaker=''):
  """Returns the numbers of the turns that are to be learned, from 0.

  Args:
    turns, named: of `messages`.
    speaker: of SPEAKERS: whose turns they are; '' is the assistant's where
      there are roles, and else all. The first turn answers nothing.

  Raises:
    UserError: there is none.
  """
  if len(turns) < 2:
    raise UserError(f'a dialogue needs two turns or more; it has {len(turns)}')
  speaker = speaker or ('assistant' if named else 'all')
  if named or speaker == 'all':
    roles = [turn['role'] for turn in turns]
  else:
    roles = [ROLES[1 + i % 2] for i in range(len(turns))]
  found = [
    i
    for i, role in enumerate(roles)
    if i and role != 'system' and speaker in (role, 'all')
  ]
  if not found:
    raise UserError(f'no turn after the first is of {speaker!r}')
  return found


def said(turns, numbers):
  """Returns those of the numbers whose turns are more than space."""
  return [n for n in numbers if turns[n]['content'].strip()]


def check_asks(turns):
  """Raises UserError if the last turn is empty, or the system's."""
  last, number = turns[-1], len(turns)
  if not said(turns, [number - 1]):
    raise UserError(f'turn {number} is empty, and the last: it asks nothing')
  if last['role'] == 'system':
    raise UserError(f"turn {number} is the system's, and the last")


def recent(turns, count):
  """Returns the last `count` turns, and the system's; None is all."""
  others = [i for i, turn in enumerate(turns) if turn['role'] != 'system']
  left_out = others if count == 0 else others[: -(count or len(others))]
  return [turn for i, turn in enumerate(turns) if i not in left_out]


def of(tokenizer, template=None, data=False):
  """Returns how a tokenizer's dialogues are joined: Templated, or Ended.

  Args:
    tokenizer: a Tokenizer.
    template: whether by its chat template; None is if it has one.
    data: whether the texts are training data, see Tokenizer.
  """
  if template is None:
    template = tokenizer.chat_template is not None
  return Templated(tokenizer) if template else Ended(tokenizer, data)


class Ended:
  """Each turn with the token that ends a text.

  Attributes:
    by_role: whether a turn's role changes its ids.
  """

  by_role = False

  def __init__(self, tokenizer, data=False):
    self._tokenizer, self._data = tokenizer, data

  @property
  def ends(self):
    """Ids that end an answer."""
    return (self._tokenizer.eos_id,)

  def _ids(self, turns):
    t = self._tokenizer
    return [
      [*t.encode(turn['content'], data=self._data), t.eos_id] for turn in turns
    ]

  def prompt(self, turns, room=None, goes_on=False):
    """Returns the ids that the answer to some turns follows.

    Args:
      turns: of `messages`; none of them is what begins a document.
      room: ids at most; None is no limit.
      goes_on: whether the last turn is the answer's beginning.

    Raises:
      NoRoom: the last turn alone is longer.
    """
    rows = self._ids(turns)
    if goes_on:
      rows[-1].pop()
    return self._newest(rows, room)

  def _newest(self, rows, room):
    if not rows:
      return [self._tokenizer.bos_id]
    kept = []
    for row in reversed(rows):
      if room is not None and len(row) + len(kept) > room:
        break
      kept = row + kept
    if not kept:
      raise NoRoom(
        f'that turn has {len(rows[-1])} tokens; there is room for {room}'
      )
    return kept

  def answered(self, turns, room=None):
    """Returns (ids of a prompt, ids of the last turn, its answer).

    Raises:
      NoRoom: the answer, or the turn before it, is longer.
    """
    *before, answer = self._ids(turns)
    if room is not None:
      room -= len(answer)
      if room < 1:
        raise NoRoom(f'an answer has {len(answer)} tokens')
    return self._newest(before, room), answer

  def whole(self, turns, learned, room=None):
    """Returns (ids, whether each is of an answer), or None if it can't be.

    Args:
      turns: of `messages`.
      learned: of `answers`.
      room: see `prompt`.
    """
    rows = self._ids(turns)
    ids = [i for row in rows for i in row]
    marks = [n in learned for n, row in enumerate(rows) for _ in row]
    return (ids, marks) if room is None or len(ids) <= room else None


class Templated:
  """By the chat template, of which answers are the assistant's; as Ended."""

  by_role = True

  def __init__(self, tokenizer):
    self._tokenizer = tokenizer

  def _render(self, turns, going_on=False):
    t = self._tokenizer
    if t.chat_template is None:
      raise UserError(
        'the tokenizer has no chat template: put chat_template.jinja into its '
        'folder, or set config.tasks.NAME.objective.template=False'
      )
    tokens = {f'{k}_token': v for k, v in t.special_tokens.items()}
    template = chat_template.opened(t.chat_template, tuple(tokens.items()))
    return template(turns, going_on)

  def text(self, turns, going_on=False):
    """Returns the text of turns, see chat_template.Template."""
    return self._render(turns, going_on)[0]

  def begun(self, turns):
    """Returns the text of turns of which the last one goes on.

    Raises:
      UserError: the template does not say it as it is.
    """
    *before, last = turns
    text = self.text([*before, last | {'content': last['content'] + GOES_ON}])
    end = text.rfind(GOES_ON.strip())
    if end < 0:
      raise UserError(
        'the chat template does not give the last turn as it is, so that it '
        "can't go on"
      )
    own = text[:end]
    return own if text[end:].startswith(GOES_ON) else own.rstrip()

  def _encode(self, text):
    return self._tokenizer.encode(text)  # special tokens are the template's

  @functools.cached_property
  def ends(self):
    """Ids that end an answer: a text's end, and what the template sets."""
    t, word = self._tokenizer, 'abcxyz'
    text = self.text(alternating(['a', word]))
    after = text[text.rfind(word) + len(word) :].lstrip()
    rest = self._encode(after)[:1]
    return tuple(dict.fromkeys((t.eos_id, *(t.special_ids & set(rest)))))

  def prompt(self, turns, room=None, goes_on=False):
    """See Ended."""

    def ids(kept):
      return self._encode(
        self.begun(kept) if goes_on else self.text(kept, True)
      )

    return self._fitting(ids, len, turns, room)

  def answered(self, turns, room=None):
    """See Ended.

    Raises:
      UserError: its prompt is not how the answered dialogue begins.
    """
    return self._fitting(
      self._answered, lambda both: sum(map(len, both)), turns, room
    )

  def _fitting(self, function, size, turns, room):
    # function(turns) without the oldest ones; what is left begins with a user.
    whole = function(turns)
    if room is None or size(whole) <= room:
      return whole
    system = [turn for turn in turns if turn['role'] == 'system']
    others = [turn for turn in turns if turn['role'] != 'system']
    starts = [i for i, x in enumerate(others) if i and x['role'] == 'user']
    made = functools.cache(lambda start: function(system + others[start:]))
    at = bisect.bisect_left(
      starts, True, key=lambda start: size(made(start)) <= room
    )
    if at == len(starts):
      raise NoRoom(
        f'by the template the newest turns have more than {room} tokens'
      )
    return made(starts[at])

  def _answered(self, turns):
    if turns[-1]['role'] != 'assistant':
      raise UserError(
        "by a chat template the model answers as 'assistant': leave "
        'config.tasks.NAME.objective.speaker out, or set template=False'
      )
    text, spans = self._render(turns)
    if spans:
      prompt, (first, last) = '', spans[-1]
    else:
      prompt, _ = self._render(turns[:-1], True)
      first, last = len(prompt), len(text)
    ids = self._encode(text[:last])
    before = self._encode(text[:first])
    if not text.startswith(prompt) or ids[: len(before)] != before:
      raise UserError(
        'the chat template begins a prompt otherwise than the dialogue with '
        'its answer: put {% generation %} and {% endgeneration %} around what '
        'is to be learned, or set config.tasks.NAME.objective.template=False'
      )
    return before, ids[len(before) :]

  def whole(self, turns, learned, room=None):
    """See Ended."""
    ids = self._encode(self._render(turns)[0])
    if room is not None and len(ids) > room:
      return None
    marks = [False] * len(ids)
    for n in learned:
      before, answer = self._answered(turns[: n + 1])
      first, last = len(before), len(before) + len(answer)
      if ids[:last] != before + answer:
        return None  # it writes older answers otherwise
      marks[first:last] = [True] * len(answer)
    return ids, marks
