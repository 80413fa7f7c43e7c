"""Framing: text to tokens with their special tokens, once for everything.

Training, evaluation and every command put special tokens around text by these
functions: a document's, a text's of an encoder, a source's or target's of an
encoder-decoder, a pair's and a prompt's. A dialogue's are in data.dialogues.
"""

import dataclasses

import numpy as np

from ctxlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Frame:
  """The ids that stand before and after a text.

  >>> Frame((1,), (2,))([10, 11, 12], length=4)
  [1, 10, 11, 2]
  """

  first: tuple
  last: tuple

  def __call__(self, ids, length=None):
    """Returns a text's ids between the special ones, cut to `length`."""
    return [*self.first, *ids[: self.room(length)], *self.last]

  def row(self, ids, length, pad_id):
    """Returns (tokens, segment_ids) int32 [length], cut and padded."""
    ids = self(ids, length)
    tokens = np.full(length, pad_id, np.int32)
    tokens[: len(ids)] = ids
    return tokens, (np.arange(length) < len(ids)).astype(np.int32)

  def room(self, length):
    """Returns how many of a text's ids fit in `length`; None is no limit.

    Raises:
      UserError: none do.
    """
    if length is None:
      return None
    special = len(self.first) + len(self.last)
    if length <= special:
      raise UserError(
        f'max_length={length} has no room for text beside {special} special '
        'tokens'
      )
    return length - special


def document(tokenizer):
  """Returns the Frame of a document that a causal model learns: bos, eos."""
  return Frame((tokenizer.bos_id,), (tokenizer.eos_id,))


def text(tokenizer):
  """Returns an encoder's Frame: cls, sep; bos, eos where one is lacking."""
  t = tokenizer
  if None in (t.cls_id, t.sep_id):
    return document(t)
  return Frame((t.cls_id,), (t.sep_id,))


def source(tokenizer):
  """Returns the Frame of an encoder-decoder's source, and of its target.

  It is that of the tokenizer's family: x </s> for T5, which has no token that
  begins a text, and <s> x </s> for BART.
  """
  t = tokenizer
  last = t.eos_id if t.sep_id is None else t.sep_id
  return Frame(() if t.cls_id is None else (t.cls_id,), (last,))


def reading(tokenizer, model):
  """Returns the Frame that a model reads a whole text in.

  An encoder's, or an encoder-decoder's source, has its ends; a decoder's has
  its beginning, since the end tells it nothing.
  """
  if model.encoder_decoder:
    return source(tokenizer)
  if model.causal:
    return Frame(document(tokenizer).first, ())
  return template(tokenizer)


def ends(tokenizer, encoder_decoder):
  """Returns the ids that end what a model writes, as its targets did.

  A tokenizer that was trained here has a token that ends a text, and another
  one that ends a document.
  """
  frame = source(tokenizer) if encoder_decoder else document(tokenizer)
  return tuple(i for i in frame.last if i is not None)


def template(tokenizer):
  """Returns the Frame that the tokenizer's own files tell, or else `text`."""
  if tokenizer.template is None:
    return text(tokenizer)
  return Frame(*tokenizer.template)


def texts(tokenizer, strings, length):
  """Returns the ids of each text as its template has it, cut to `length`."""
  frame = template(tokenizer)
  return [frame(ids, length) for ids in tokenizer.encode_batch(strings)]


def documents(tokenizer, strings, kind):
  """Yields each training document's ids, framed: int64 [n].

  Args:
    tokenizer: a Tokenizer.
    strings: list of str.
    kind: 'bos' is of `document`, 'cls' of `text`.
  """
  frame = {'bos': document, 'cls': text}[kind](tokenizer)
  for ids in tokenizer.encode_batch(strings, data=True):
    yield np.array(frame(ids))


def beginning(tokenizer, string, length):
  """Returns the `length` ids that a training text begins with, if it has them.

  A row shows a text's beginning only, so what lies far behind isn't tokenised.
  The ids are those of the whole text: it is cut between words, or far from
  what is returned where it has no spaces.
  """
  size = 16 * length + 1024
  while size < len(string):
    space = max(string.rfind(c, size // 2, size) for c in ' \n')
    ids = tokenizer.encode(string[: space if space > 0 else size], data=True)
    if len(ids) >= 2 * length + 64:
      return ids[:length]
    size *= 4
  return tokenizer.encode(string, data=True)[:length]


def pair(tokenizer, first, second, length):
  """Returns BERT's row of two segments: cls first sep second sep.

  Args:
    tokenizer: a Tokenizer.
    first, second: ids, `length` - 3 together at most.
    length: of the row.

  Returns:
    'tokens', 'segment_ids', 'positions', 'type_ids': int32 [length]; types are
    1 from the second segment on, its end included.
  """
  frame = text(tokenizer)
  ids = [*frame(first), *second, *frame.last]
  tokens, used = Frame((), ()).row(ids, length, tokenizer.pad_id)
  place = np.arange(length, dtype=np.int32)
  return {
    'tokens': tokens,
    'segment_ids': used,
    'positions': place * used,
    'type_ids': used * (place >= len(first) + 2),
  }


def parts(tokenizer, strings, length):
  """Returns a text, or a pair, as the tokenizer's own template frames it.

  A pair that is too long loses from the longer text, as in transformers
  ('longest_first').

  Args:
    tokenizer: a Tokenizer.
    strings: [text], or [first, second].
    length: ids at most.

  Returns:
    {'tokens', 'type_ids'}: lists of int, as long as it takes.
  """
  t = tokenizer
  # Which of two is the longer must be seen.
  ids = [beginning(t, string, 4 * length) for string in strings]
  if len(ids) == 1:
    row = template(t)(ids[0], length)
    if not row:
      raise UserError(f'a text of no token: {strings[0]!r:.40}')
    return {'tokens': row, 'type_ids': [0] * len(row)}
  frame = pair_template(t)
  room = length - frame.size
  if room < 2:
    raise UserError(f'max_length={length} has no room for two texts')
  sizes = _fitting(*map(len, ids), room)
  return frame(*(part[:size] for part, size in zip(ids, sizes)))


@dataclasses.dataclass(frozen=True)
class PairFrame:
  """The ids that stand around two texts, with their types, and the texts'.

  >>> frame = PairFrame(((1,), (0,)), ((2,), (0,)), ((2,), (1,)), (0, 1))
  >>> frame([10, 11], [12])
  {'tokens': [1, 10, 11, 2, 12, 2], 'type_ids': [0, 0, 0, 0, 1, 1]}
  """

  first: tuple
  between: tuple
  last: tuple
  types: tuple

  @property
  def size(self):
    """Ids that are no text."""
    return sum(len(ids) for ids, _ in (self.first, self.between, self.last))

  def __call__(self, first, second):
    """Returns {'tokens', 'type_ids'} of two texts' ids: lists of int."""
    parts = (
      self.first,
      (first, [self.types[0]] * len(first)),
      self.between,
      (second, [self.types[1]] * len(second)),
      self.last,
    )
    tokens, types = ([i for part in own for i in part] for own in zip(*parts))
    return {'tokens': tokens, 'type_ids': types}


def pair_template(tokenizer):
  """Returns the PairFrame that the tokenizer's own files tell, or BERT's."""
  if tokenizer.pair_template:
    return PairFrame(*tokenizer.pair_template)
  first, last = text(tokenizer).first, text(tokenizer).last
  zeros = (0,) * len(last)
  return PairFrame(
    (first, (0,) * len(first)), (last, zeros), (last, (1,) * len(last)), (0, 1)
  )


def _fitting(first, second, room):
  # Sizes of two texts that fit: the longer one is cut to the other's first.
  short, long = sorted((first, second))
  long = min(long, max(short, room - short))
  if short + long > room:
    short, long = room // 2, room - room // 2
  return (short, long) if first <= second else (long, short)


def padded(row, length, pad_id):
  """Returns a row of lists {'tokens', ...} as int32 [length], padded.

  'segment_ids', 1 where there is a token, are added; all else is padded by 0.
  """
  tokens, used = Frame((), ()).row(row['tokens'], length, pad_id)
  arrays = {'tokens': tokens, 'segment_ids': used}
  for name in row.keys() - arrays.keys():
    arrays[name] = np.zeros(length, np.int32)
    arrays[name][: len(row[name])] = row[name]
  return arrays


def prompt(tokenizer, string, frame, whole=False):
  """Returns a prompt's ids; what it says of special tokens itself stays.

  Args:
    tokenizer: a Tokenizer.
    string: str.
    frame: Frame.
    whole: whether the prompt is closed, as an encoder's is; else it goes on.

  Raises:
    UserError: it is empty.
  """
  ids = tokenizer.encode(string)
  if not ids:
    raise UserError('the prompt is empty')
  return frame(ids) if whole else [*frame.first, *ids]


def ending(ids, first, room):
  """Returns a prompt's newest ids that fit, behind what begins a document.

  >>> ending([5, 6, 7], (1,), room=3)
  [1, 6, 7]
  """
  if room is not None:
    ids = ids[max(len(ids) + len(first) - room, 0) :]
  return [*first, *ids]
