"""Text to ids: long texts in pieces, and training texts that are all text."""

import functools
import itertools
import re

import tokenizers

from ctxlm.data.tokenizers import bounds

# Characters of a text, and of several, that are encoded at once: what the
# library keeps of a text until then is 150 times as large.
PIECE, GROUP = 2**16, 2**20
FAILS = 'the tokenizer fails at a text'
WINDOW = 200  # characters on either side that decide whether a cut is right
_SPACE = re.compile(r'(?<=\S)\s(?=\S)')


class Encoder:
  """Encodes by a `tokenizers.Tokenizer`, no special tokens added."""

  def __init__(self, backend, control):
    """Wraps `backend`; `control` are the ids that no text is to give itself."""
    self._backend, self._control = backend, frozenset(control)

  def __call__(self, text, literal=False):
    """Returns the ids of a text.

    Args:
      text: str; a lone surrogate, which is no character, is U+FFFD.
      literal: whether special tokens that it spells are text like any other.
    """
    if len(text) > PIECE:
      return self.batch([text], literal)[0]
    text = characters(text)
    ids = _ids(self._backend, text)
    return self._literal(text, ids) if literal else ids

  def batch(self, texts, literal=False):
    """Returns the ids of each text, on all cores.

    A long text is encoded in pieces, as is a long list of them, so that
    memory is little more than that of the ids.
    """
    texts = [characters(text) for text in texts]
    ids = [[] for _ in texts]
    pieces = (
      (i, piece) for i, text in enumerate(texts) for piece in self._pieces(text)
    )
    for group in _groups(pieces):
      with bounds.said(FAILS):
        encoded = self._backend.encode_batch_fast(
          [piece for _, piece in group], add_special_tokens=False
        )
      for (i, piece), one in zip(group, encoded, strict=True):
        ids[i] += self._literal(piece, one.ids) if literal else one.ids
    return ids

  def places(self, text, literal=False):
    """Returns (ids, [(start, end)]): a text's, and their characters in it."""
    text = characters(text)
    ids, places = [], []
    for begin, end in self._cuts(text):
      piece = text[begin:end]
      parts = [(0, _encoding(self._backend, piece))]
      if literal and not self._control.isdisjoint(parts[0][1].ids):
        parts = self._spelled_out(piece)
      for at, one in parts:
        ids += one.ids
        places += [(begin + at + a, begin + at + b) for a, b in one.offsets]
    return ids, places

  def _pieces(self, text):
    """Yields a text in pieces whose ids, one after the other, are its own."""
    return (text[begin:end] for begin, end in self._cuts(text))

  def _cuts(self, text):
    """Yields (begin, end) of `_pieces`."""
    start = 0
    while len(text) - start > PIECE:
      cuts = (m.start() for m in _SPACE.finditer(text, start + PIECE))
      nexts = ((at, self._next(text, at)) for at in cuts)
      end, following = next((n for n in nexts if n[1]), (len(text), len(text)))
      yield start, end
      start = following
    if start < len(text):
      yield start, len(text)

  def _next(self, text, at):
    """Returns where a piece begins after one that ends before a space.

    It takes the space along, or leaves it out where the tokenizer puts one
    before every text. None says that the ids would be others.
    """
    left, right = text[max(at - WINDOW, 0) : at], text[at : at + WINDOW]
    whole, first, with_space, without = (
      _ids(self._backend, part)
      for part in (left + right, left, right, right[1:])
    )
    if whole == first + with_space:
      return at
    return at + 1 if whole == first + without else None

  def _literal(self, text, ids):
    """Returns a text's ids, which `ids` are if none of them is control."""
    if self._control.isdisjoint(ids):
      return ids
    parts = self._spelled_out(text)
    return list(itertools.chain(*(one.ids for _, one in parts)))

  def _spelled_out(self, text):
    """Returns [(where it begins, Encoding)] of a text's parts, none special."""
    whole = _encoding(self._without_special, text)
    if self._control.isdisjoint(whole.ids):
      return [(0, whole)]
    # The vocabulary itself has such a piece: its spelling is cut.
    cuts = [m.start() + 1 for m in self._spelled.finditer(text)]
    parts = itertools.pairwise([0, *cuts, len(text)])
    return [(a, _encoding(self._without_special, text[a:b])) for a, b in parts]

  @functools.cached_property
  def _without_special(self):
    backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
    backend.encode_special_tokens = True
    return backend

  @functools.cached_property
  def _spelled(self):
    names = [self._backend.id_to_token(i) for i in self._control]
    names = sorted(filter(None, names), key=len, reverse=True)
    return re.compile('|'.join(map(re.escape, names)))


def _ids(backend, text):
  return _encoding(backend, text).ids


def _encoding(backend, text):
  with bounds.said(FAILS):
    return backend.encode(text, add_special_tokens=False)


def characters(text):
  """Returns a text whose lone surrogates, which are none, are U+FFFD."""
  try:
    text.encode()
  except UnicodeEncodeError:  # half of a UTF-16 pair, which JSON can escape
    text = text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
  return text


def _groups(pieces):
  """Yields lists of (number, text) of GROUP characters or little more."""
  group, size = [], 0
  for piece in pieces:
    group.append(piece)
    size += len(piece[1])
    if size >= GROUP:
      yield group
      group, size = [], 0
  if group:
    yield group
