"""Regular expressions of others' tokenizers: refused where they can explode.

The library's engine goes back and tries again. What it repeats may be tried
in as many ways as there are to cut a text into repeats: (a+)+ in 2^n. So what
is repeated here has one length and no choice within it, or nothing after it
that could fail, as in all tokenizers that are known; then a match takes at most
some power of the text's length, and the engine's own bound ends it (10^7 steps
back).
"""

import dataclasses
import math
import re

from ctxlm.errors import UserError

MOST_CHARACTERS = 5000
MOST_DEPTH = 30  # of groups
MOST_LOOPS = 3  # one after the other, each of any length
MOST_REPEATS = 1000  # of a character, by counts
MOST_WAYS = 1000  # to read the same text, beside loops
GROUP = re.compile(r'\(\?(?::|=|!|>|<=|<!|[im-]*:|<[A-Za-z_]\w*>)|\((?![?*])')
FLAGS = re.compile(r'\(\?[im-]+\)')
# Of one character: \p{L}, \x{2581}, \u2581, \n. What is left out refers to
# groups, or is of several characters.
ESCAPE = re.compile(
  r'\\(?:[pP]\{[^{}]*\}|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|0|'
  r'[^pPxukgcCMNORXKyYQE0-9])',
  re.DOTALL,
)
ANCHORS = {'\\b', '\\B', '\\A', '\\z', '\\Z', '\\G'}
POSIX = re.compile(r'\[:\^?[a-z]+:\]')
REPEAT = re.compile(r'[*+?]|\{(?:(\d+)(,?)(\d*)|,(\d+))\}')


@dataclasses.dataclass(frozen=True)
class Part:
  """What a part of a pattern reads.

  Attributes:
    least, most: characters.
    loops: of any length, one after the other.
    ways: to read a text, beside those.
  """

  least: int = 0
  most: float = 0
  loops: int = 0
  ways: int = 1


def check(pattern):
  """Returns the Part that a pattern is.

  Raises:
    UserError: it can explode, or has what none of a tokenizer needs.
  """
  if not isinstance(pattern, str) or len(pattern) > MOST_CHARACTERS:
    raise UserError(
      f'a regular expression of more than {MOST_CHARACTERS} characters'
    )
  try:
    part, at = _choice(pattern, 0, 0)
    if at < len(pattern):
      raise ValueError('a ) too many')
    return part
  except ValueError as e:
    shown = pattern if len(pattern) < 60 else f'{pattern[:57]}...'
    raise UserError(
      f'the regular expression {shown!r} is not taken from others: it has {e}'
    ) from e


def _choice(text, at, depth):
  if depth > MOST_DEPTH:
    raise ValueError(f'groups more than {MOST_DEPTH} deep')
  parts = []
  while True:
    part, at = _sequence(text, at, depth)
    parts.append(part)
    if text[at : at + 1] != '|':
      break
    at += 1
  whole = Part(
    min(p.least for p in parts),
    max(p.most for p in parts),
    max(p.loops for p in parts),
    sum(p.ways for p in parts),
  )
  return whole, at


def _sequence(text, at, depth):
  whole = Part()
  while at < len(text) and text[at] not in '|)':
    part, at = _atom(text, at, depth)
    while match := REPEAT.match(text, at):
      at = match.end()
      least, most = _counts(match)
      if text[at : at + 1] == '?' or (
        text[at : at + 1] == '+' and match[0] in '*+?'
      ):
        at += 1  # lazy, or without going back
      ends = depth == 0 and text[at : at + 1] in ('', '|')
      part = _repeated(part, least, most, ends)
    whole = Part(
      whole.least + part.least,
      whole.most + part.most,
      whole.loops + part.loops,
      whole.ways * part.ways,
    )
    if whole.ways > MOST_WAYS:
      raise ValueError(f'more than {MOST_WAYS} ways to read the same')
    if whole.loops > MOST_LOOPS:
      raise ValueError(
        f'more than {MOST_LOOPS} repeats without an end, one after the other'
      )
  return whole, at


def _atom(text, at, depth):
  if match := FLAGS.match(text, at):
    return Part(), match.end()
  if text[at] == '(':
    match = GROUP.match(text, at)
    if not match:
      raise ValueError(f'a group that begins with {text[at : at + 4]!r}')
    part, at = _choice(text, match.end(), depth + 1)
    if text[at : at + 1] != ')':
      raise ValueError('a group without an end')
    if match[0] in ('(?=', '(?!', '(?<=', '(?<!'):
      part = dataclasses.replace(part, least=0, most=0)
    return part, at + 1
  if text[at] == '[':
    return Part(1, 1), _class_end(text, at, 0)
  if text[at] == '\\':
    match = ESCAPE.match(text, at)
    if not match:
      raise ValueError(f'{text[at : at + 2]!r}')
    length = int(match[0] not in ANCHORS)
    return Part(length, length), match.end()
  length = int(text[at] not in '^$')
  return Part(length, length), at + 1


def _class_end(text, at, depth):
  # Classes nest, and the first ] of one is a character.
  at += 2 if text[at + 1 : at + 2] == '^' else 1
  first = True
  while at < len(text) and depth < MOST_DEPTH:
    if text[at] == ']' and not first:
      return at + 1
    if text[at] == '[':
      match = POSIX.match(text, at)
      if not match and text[at : at + 2] == '[:':
        raise ValueError("'[:' in a class")
      at = match.end() if match else _class_end(text, at, depth + 1)
    elif text[at] == '\\':
      match = ESCAPE.match(text, at)
      if not match:
        raise ValueError(f'{text[at : at + 2]!r} in a class')
      at = match.end()
    else:
      at += 1
    first = False
  raise ValueError('a class without an end')


def _counts(match):
  if match[0] in '*+?':
    return {'*': (0, math.inf), '+': (1, math.inf), '?': (0, 1)}[match[0]]
  numbers = [n for n in match.groups() if n and n != ',']
  if any(len(n) > 9 for n in numbers):
    raise ValueError('a count that is too large')
  least, comma, most, up_to = match.groups()
  if up_to:
    return 0, int(up_to)
  return int(least), int(most) if most else math.inf if comma else int(least)


def _repeated(part, least, most, ends):
  # `ends`: whether nothing comes after it, so that it isn't tried again.
  if least > most:
    raise ValueError('a repeat of a to b where a is more than b')
  plain = part.least == part.most and part.ways == 1 and not part.loops
  if most > 1 and not plain and not ends:
    raise ValueError(
      'a repeat of what can be read in several ways, such as (a+)+ or (a|b)*'
    )
  longest = part.most * most if part.most else 0
  loops, ways = part.loops + (most == math.inf), part.ways
  if most < math.inf:
    ways *= most - least + 1
  counted = 0 if math.isinf(longest) else longest
  if max(part.least * least, counted, ways) > MOST_REPEATS:
    raise ValueError(f'repeats of more than {MOST_REPEATS} characters')
  return Part(part.least * least, longest, loops, ways)
