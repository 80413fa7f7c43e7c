"""Regular expressions and strings as automata over the bytes of UTF-8."""

from re import _constants as ops
from re import _parser as parser
from re import error as re_error

import numpy as np

from ctxlm.errors import UserError

MOST_STATES = 20_000
LAST = 0x10FFFF
# Code points of \d, \w, \s and their complements, of ASCII only.
CATEGORIES = {
  'DIGIT': [(48, 57)],
  'WORD': [(48, 57), (65, 90), (95, 95), (97, 122)],
  'SPACE': [(9, 13), (32, 32)],
}


def matching(pattern):
  """Returns the automaton of the texts that match the whole pattern.

  Literals, classes, '.', groups, '|' and repeats are known; \\d, \\w and \\s
  are those of ASCII; there are no look-arounds, references or anchors.

  Args:
    pattern: as of Python's re.

  Returns:
    (next int32 [states, 256], -1 where there is none; accepts bool [states]).
    State 0 is the first.

  Raises:
    UserError: it is no such pattern.
  """
  try:
    tree = parser.parse(pattern)
  except re_error as e:
    raise UserError(f'the regular expression {pattern!r}: {e}') from e
  nfa = Nfa()
  try:
    end = nfa.sequence(tree, nfa.state())
  except UserError as e:
    raise UserError(f'the regular expression {pattern!r}: {e}') from e
  return nfa.determined(0, end)


def containing(strings):
  """Returns the automaton of the texts in which one of the strings stands.

  Once it has been found, the automaton stays where it is.
  """
  nfa = Nfa()
  first, end = nfa.state(), nfa.state()
  nfa.edge(first, 0, 255, first)
  for string in strings:
    here = first
    for byte in string.encode():
      here = nfa.edge(here, byte, byte, nfa.state())
    nfa.free(here, end)
  table, accepts = nfa.determined(0, end)
  table[accepts] = np.flatnonzero(accepts)[:, None]
  return table, accepts


class Nfa:
  """Thompson's construction, with edges of ranges of bytes."""

  def __init__(self):
    self._edges, self._free = [], []

  def state(self):
    """Returns a new state."""
    if len(self._edges) == MOST_STATES:
      raise UserError(f'it has more than {MOST_STATES} states')
    self._edges.append([])
    self._free.append([])
    return len(self._edges) - 1

  def edge(self, a, low, high, b):
    """Adds an edge; returns b."""
    self._edges[a].append((low, high, b))
    return b

  def free(self, a, b):
    """Adds an edge that reads nothing; returns b."""
    self._free[a].append(b)
    return b

  def sequence(self, tree, start):
    """Adds a parsed pattern that begins at start; returns its end."""
    for op, value in tree:
      start = self._one(op, value, start)
    return start

  def _one(self, op, value, start):
    if op is ops.LITERAL:
      return self._points([(value, value)], start)
    if op is ops.NOT_LITERAL:
      return self._points(_complement([(value, value)]), start)
    if op is ops.ANY:
      return self._points(_complement([(10, 10)]), start)
    if op is ops.IN:
      return self._points(_class(value), start)
    if op is ops.SUBPATTERN:
      if value[1] or value[2]:
        raise UserError('flags in a group are not known')
      return self.sequence(value[3], start)
    if op is ops.BRANCH:
      end = self.state()
      for branch in value[1]:
        self.free(self.sequence(branch, self.free(start, self.state())), end)
      return end
    # Whether a repeat is greedy decides how a text matches, not if.
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
      return self._repeat(*value, start)
    raise UserError(f'{str(op).lower()} is not known here')

  def _repeat(self, least, most, tree, start):
    for _ in range(least):
      start = self.sequence(tree, start)
    end = self.state()
    if most is ops.MAXREPEAT:
      loop = self.free(start, self.state())
      self.free(loop, end)
      self.free(self.sequence(tree, loop), loop)
      return end
    for _ in range(most - least):
      self.free(start, end)
      start = self.sequence(tree, self.free(start, self.state()))
    return self.free(start, end)

  def _points(self, ranges, start):
    end = self.state()
    for low, high in ranges:
      for sequence in utf8(low, high):
        here = start
        for a, b in sequence[:-1]:
          here = self.edge(here, a, b, self.state())
        self.edge(here, *sequence[-1], end)
    return end

  def _closure(self, states):
    seen, left = set(states), list(states)
    while left:
      for b in self._free[left.pop()]:
        if b not in seen:
          seen.add(b)
          left.append(b)
    return frozenset(seen)

  def determined(self, first, end):
    """Returns (next, accepts) of the subset construction, see `matching`."""
    known = {self._closure([first]): 0}
    left, rows = list(known), []
    for states in left:  # which grows
      reached = [set() for _ in range(256)]
      for a in states:
        for low, high, b in self._edges[a]:
          for byte in range(low, high + 1):
            reached[byte].add(b)
      row = np.full(256, -1, np.int32)
      closures = {}
      for byte, targets in enumerate(reached):
        if not targets:
          continue
        key = frozenset(targets)
        if key not in closures:
          closures[key] = self._closure(key)
        target = closures[key]
        if target not in known:
          if len(known) == MOST_STATES:
            raise UserError(f'it has more than {MOST_STATES} states')
          known[target] = len(known)
          left.append(target)
        row[byte] = known[target]
      rows.append(row)
    return np.array(rows), np.array([end in states for states in left])


def utf8(low, high):
  """Yields sequences of byte ranges: the UTF-8 of code points low..high."""
  if low > high:
    return
  for edge in (0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF):
    if low <= edge < high:
      yield from utf8(low, edge)
      yield from utf8(edge + 1, high)
      return
  if 0xD800 <= low <= 0xDFFF:  # halves of pairs are no characters
    return
  size = len(chr(high).encode())
  # Cut until every byte after the first that differs runs over all of its 64.
  for i in range(1, size):
    mask = (1 << 6 * i) - 1
    if low & ~mask != high & ~mask:
      if low & mask:
        cut = low | mask
      elif high & mask != mask:
        cut = (high & ~mask) - 1
      else:
        continue
      yield from utf8(low, cut)
      yield from utf8(cut + 1, high)
      return
  yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))


def _class(items):
  ranges, negated = [], False
  for op, value in items:
    if op is ops.NEGATE:
      negated = True
    elif op is ops.LITERAL:
      ranges.append((value, value))
    elif op is ops.RANGE:
      ranges.append(value)
    elif op is ops.CATEGORY:
      name = str(value).removeprefix('CATEGORY_')
      ranges += (
        _complement(CATEGORIES[name.removeprefix('NOT_')])
        if name.startswith('NOT_')
        else CATEGORIES[name]
      )
    else:
      raise UserError(f'{str(op).lower()} is not known in a class')
  return _complement(ranges) if negated else ranges


def _complement(ranges):
  out, begin = [], 0
  for low, high in sorted(ranges):
    if low > begin:
      out.append((begin, low - 1))
    begin = max(begin, high + 1)
  return out + ([(begin, LAST)] if begin <= LAST else [])
