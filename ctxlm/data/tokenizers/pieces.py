"""Entries of vocabularies, and the bytes of text that each stands for."""

import functools
import re
import string
import unicodedata

from ctxlm.errors import printable

# Characters that are written without spaces: Chinese and Japanese.
_UNSPACED = (
  (0x2E80, 0x9FFF),
  (0xF900, 0xFAFF),
  (0xFF66, 0xFF9F),
  (0x20000, 0x3FFFF),
)


def readable(data):
  """Returns UTF-8, which may end within a character, as a text to look at."""
  return printable(data.decode('utf-8', 'backslashreplace'))


def bytes_of(entry, mark):
  """Returns the UTF-8 that a vocabulary's entry adds to a text.

  Args:
    entry: str.
    mark: how the vocabulary marks words: '##', 'Ġ' or '▁'.
  """
  if mark == '##':
    return (
      entry[2:].encode() if entry.startswith('##') else f' {entry}'.encode()
    )
  if mark == 'Ġ':
    known = _byte_of()
    if all(c in known for c in entry):
      return bytes(known[c] for c in entry)
    return entry.encode()  # no byte-level vocabulary has it
  if re.fullmatch('<0x[0-9A-F]{2}>', entry):
    return bytes([int(entry[3:5], 16)])
  return entry.replace('▁', ' ').encode()


@functools.cache
def _byte_of():
  # Byte-level vocabularies write the bytes that are no visible character of
  # Latin-1 as those from 256 on, in their order (Radford et al. 2019).
  seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
  hidden = [b for b in range(256) if b not in seen]
  return {chr(b): b for b in seen} | {
    chr(256 + i): b for i, b in enumerate(hidden)
  }


def starts_word(text):
  """Whether a token begins a word; `text` is its UTF-8, perhaps cut."""
  if not text or 0x80 <= text[0] < 0xC0:
    return False
  first = text.decode('utf-8', 'replace')[0]
  if first == '\ufffd':
    return 0xE3 <= text[0] <= 0xE9  # U+3000 to U+9FFF
  return (
    first.isspace()
    or first in string.punctuation
    or unicodedata.category(first).startswith('P')
    or any(low <= ord(first) <= high for low, high in _UNSPACED)
  )
