"""What a tokenizer of somebody else may be, checked before it is made.

The library trusts its files: it reads beyond the end of a damaged table of
characters, and lets a few steps make a gigabyte of a line. Errors of its own
become one line, those too that are no Exception.
"""

import base64
import contextlib

import numpy as np

from ctxlm.data.tokenizers import patterns
from ctxlm.errors import UserError, reason

MOST_TOKENS = 2**22
MOST_GROWTH = 1000  # characters that one of a text may become
MOST_SPELLED = 200  # bytes that a table of characters has for one


@contextlib.contextmanager
def said(what):
  """Makes a UserError of whatever `tokenizers` raises in the block.

  Args:
    what: is done there, such as 'the tokenizer fails'.
  """
  try:
    yield
  except (UserError, MemoryError):
    raise
  except BaseException as e:
    # A panic of Rust is none, and its class can't be imported.
    if isinstance(e, Exception) or type(e).__name__ == 'PanicException':
      raise UserError(f'{what}: {reason(e)}') from e
    raise


def check(content):
  """Raises UserError for what tokenizer.json says that can't be borne.

  Args:
    content: dict, of the JSON.
  """
  growth, left = 1, [content]
  while left:
    one = left.pop()
    if isinstance(one, list):
      left += one
    if not isinstance(one, dict):
      continue
    left += one.values()
    if 'Regex' in one:
      patterns.check(one['Regex'])
    if one.get('type') == 'Replace':
      growth *= _growth(one.get('pattern'), one.get('content'))
    if 'precompiled_charsmap' in one:
      growth *= _longest_of(one['precompiled_charsmap'])
    if one.get('type') == 'ByteLevel':
      growth *= 2  # a byte that is not printed becomes a character of two
    if growth > MOST_GROWTH:
      raise UserError(
        f'what it replaces makes a text more than {MOST_GROWTH} times as long'
      )
    if one.get('type') == 'FixedLength' and one.get('length') in (0, None):
      raise UserError('it cuts a text into pieces of length 0')
    check_ids(one.get('vocab'))
    _check_merges(one)


def check_ids(vocab):
  """Raises UserError for ids of a vocabulary {token: id} that can't be."""
  if isinstance(vocab, dict) and not all(
    type(i) is int and 0 <= i < MOST_TOKENS for i in vocab.values()
  ):
    raise UserError(f'ids of its vocabulary must be 0 to {MOST_TOKENS - 1}')


def _check_merges(model):
  # The library cuts the prefix off the second part, whatever it is.
  prefix, merges = model.get('continuing_subword_prefix'), model.get('merges')
  if not isinstance(prefix, str) or not isinstance(merges, list):
    return
  for merge in merges:
    parts = merge.split(' ') if isinstance(merge, str) else merge
    last = parts[-1] if isinstance(parts, list) and parts else None
    if not isinstance(last, str) or not last.startswith(prefix):
      raise UserError(
        'its merges have a second part without continuing_subword_prefix'
      )


def _growth(pattern, content):
  if not isinstance(pattern, dict) or not isinstance(content, str):
    raise UserError('it has a Replace of no pattern and content')
  least = len(pattern.get('String') or '')
  if 'Regex' in pattern:
    least = patterns.check(pattern['Regex']).least
  return max(1, len(content) + (not least))


def _longest_of(text):
  try:
    data = base64.b64decode(text, validate=True)
  except (TypeError, ValueError) as e:
    raise UserError(f'its precompiled_charsmap is no base64: {e}') from e
  return max(1, check_charsmap(data) // 4)


def check_charsmap(data):
  """Returns the bytes of the longest text that a character becomes.

  Args:
    data: bytes of SentencePiece's precompiled_charsmap: the size of a trie,
      a double array (Aoe 1989; of darts-clone), then texts that end in 0.

  Raises:
    UserError: it leads beyond its own end.
  """
  size = int.from_bytes(data[:4], 'little')
  if size % 1024 or not size or 4 + size > len(data):
    raise UserError('its precompiled_charsmap is damaged')
  units = np.frombuffer(data, '<u4', size // 4, 4)
  # Of each unit: where its children's lie, whether it ends a key, its byte.
  offsets = (units >> 10) << ((units & 512) >> 6)
  leaf, label = (units >> 8) & 1, units & 0x800000FF
  texts = data[4 + size :]
  places, seen, values = offsets[:1], set(), set()
  while len(places):
    # All 256 of a place's children lie in one block of 256 units.
    if (places >= len(units)).any():
      raise UserError('its precompiled_charsmap is damaged')
    seen |= set(places.tolist())
    children = places[:, None] ^ np.arange(1, 256, dtype=np.uint32)
    taken = label[children] == np.arange(1, 256, dtype=np.uint32)
    children = children[taken]
    places = np.unique(children ^ offsets[children])
    ends = np.unique((children ^ offsets[children])[leaf[children] == 1])
    if (ends >= len(units)).any():
      raise UserError('its precompiled_charsmap is damaged')
    values |= set((units[ends] & 0x7FFFFFFF).tolist())
    places = np.array([p for p in places.tolist() if p not in seen], np.uint32)
  return max(map(_spelled(texts), values), default=0)


def _spelled(texts):
  def length(start):
    end = texts.find(b'\0', start)
    if start >= len(texts) or end < 0 or end - start > MOST_SPELLED:
      raise UserError('its precompiled_charsmap is damaged')
    try:
      texts[start:end].decode()
    except UnicodeDecodeError as e:
      raise UserError('its precompiled_charsmap is damaged') from e
    return end - start

  return length
