"""XLA's text of a compiled program, and how often its parts run."""

import dataclasses
import json
import math
import re

SIZES = {
  'pred': 1, 's4': 0.5, 'u4': 0.5, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2,
  's32': 4, 'u32': 4, 's64': 8, 'u64': 8, 'f16': 2, 'bf16': 2, 'f32': 4,
  'f64': 8, 'c64': 8, 'c128': 16, 'f8e4m3fn': 1, 'f8e5m2': 1,
}  # fmt: skip
ARRAY = re.compile(r'\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?')
HEAD = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
LINE = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of a computation.

  Attributes:
    name, opcode: as XLA has them.
    shape: text of its type.
    operands: names, or a parameter's number or a constant's value.
    rest: text of its attributes.
    root: whether the computation gives it.
  """

  name: str
  opcode: str
  shape: str
  operands: tuple
  rest: str
  root: bool

  def called(self, key):
    """Returns the name of the computation that an attribute names, or None."""
    found = re.search(rf'\b{key}=%?([\w.\-]+)', self.rest)
    return found and found[1]


class Program:
  """XLA's text of a compiled program.

  Attributes:
    computations: {name: [Instruction]}.
    fused: names of those whose values are not in memory.
  """

  def __init__(self, text):
    self.computations, self.fused, current = {}, set(), None
    for line in text.splitlines():
      if line.endswith('{') and (head := HEAD.match(line)):
        current = self.computations.setdefault(head[2], [])
        if head[1]:
          self.entry = head[2]
      elif current is not None and (found := LINE.match(line)):
        current.append(_instruction(line, *found.groups()))
    self._by_name = {
      name: {x.name: x for x in lines}
      for name, lines in self.computations.items()
    }
    self._home = {
      id(x): name for name, lines in self.computations.items() for x in lines
    }

  def operands(self, x):
    """Returns the Instructions that an instruction reads."""
    home = self._by_name[self._home[id(x)]]
    return [home[name] for name in x.operands if name in home]

  def times(self):
    """Returns {computation: how often it runs}; marks those that are fused."""
    found = {}

    def visit(name, times, fused):
      if name not in self.computations:
        return
      found[name] = found.get(name, 0) + times
      if fused:
        self.fused.add(name)
      for x in self.computations[name]:
        if x.opcode == 'while':
          turns = times * self.turns(x)
          visit(x.called('body'), turns, fused)
          visit(x.called('condition'), turns, True)
        elif x.opcode in ('call', 'async-start'):
          inner = x.called('to_apply') or x.called('calls')
          visit(inner, times, fused)
        elif x.opcode == 'fusion':
          visit(x.called('calls'), times, True)
        elif x.opcode == 'conditional':
          branches = re.search(r'branch_computations=\{([^}]*)\}', x.rest)
          names = branches[1].split(', ') if branches else ()
          first = (n.lstrip('%') for n in names)
          visit(next(first, x.called('true_computation')), times, fused)

    visit(self.entry, 1, False)
    return found

  def turns(self, loop):
    """Returns how often a while turns, 1 where that isn't known.

    It is what the compiler says, or of a counter that grows to a constant.
    """
    said = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
    if said:
      return int(said[1])
    end = self._root(loop.called('condition'))
    if end is None or end.opcode != 'compare' or 'direction=LT' not in end.rest:
      return 1
    counter, limit = self.operands(end)
    begin, body = self.operands(loop)[0], self._root(loop.called('body'))
    limit, place = self._carried(limit, begin), _element(counter)
    if None in (limit, place) or 'tuple' not in (begin.opcode, body.opcode):
      return 1
    start = self._carried(counter, begin) or 0
    step = self._constants(self.operands(body)[place])
    return max(1, math.ceil((limit - start) / (step or 1)))

  def _root(self, name):
    return next((x for x in self.computations.get(name, ()) if x.root), None)

  def _carried(self, x, begin):
    # The value of a constant, or of one that a loop begins with; or None.
    place = _element(x)
    if place is not None and begin.opcode == 'tuple':
      x = self.operands(begin)[place]
    while x.opcode in ('copy', 'bitcast'):
      x = self.operands(x)[0]
    return _value(x)

  def _constants(self, x):
    # What is added, by an add or a fusion of one; or None.
    if x.opcode == 'fusion':
      inside = self._root(x.called('calls'))
      own = inside and self._constants(inside)
      return own or next(filter(None, map(_value, self.operands(x))), None)
    if x.opcode != 'add':
      return None
    return next(filter(None, map(_value, self.operands(x))), None)


def _element(x):
  # Which element of a tuple it is, or None.
  found = re.search(r'\bindex=(\d+)', x.rest)
  return int(found[1]) if found and x.opcode == 'get-tuple-element' else None


def _value(x):
  # Of an integer constant; or None.
  number = x.opcode == 'constant' and re.fullmatch(r'-?\d+', x.operands[0])
  return int(x.operands[0]) if number else None


def _instruction(line, name, rest):
  if rest.startswith('('):
    end = _closing(rest, 0) + 1
  else:
    end = rest.index(' ')
  shape, rest = rest[:end], rest[end:].strip()
  opening = rest.index('(')
  closing = _closing(rest, opening)
  inner = re.sub(r'/\*.*?\*/', '', rest[opening + 1 : closing])
  operands = tuple(
    part.split('%')[-1].strip() for part in _parts(inner) if part
  )
  return Instruction(
    name,
    rest[:opening],
    shape,
    operands,
    rest[closing + 1 :],
    line.lstrip().startswith('ROOT '),
  )


def _closing(text, opening):
  depth = 0
  for match in re.compile(r'[()]').finditer(text, opening):
    depth += 1 if match[0] == '(' else -1
    if not depth:
      return match.start()
  return len(text) - 1


def _parts(text):
  # At commas that are in no brackets.
  depth, start = 0, 0
  for match in re.finditer(r'[\[\](){},]', text):
    if match[0] in '[({':
      depth += 1
    elif match[0] in '])}':
      depth -= 1
    elif not depth:
      yield text[start : match.start()]
      start = match.end()
  yield text[start:]


def dims(shape):
  """Returns the lengths of the first array of a type's text.

  >>> dims('bf16[8,128]{1,0:T(8,128)(2,1)}')
  (8, 128)
  """
  return tuple(int(n) for n in ARRAY.search(shape)[2].split(',') if n)


def size(shape):
  """Returns the bytes of a type's arrays that are in the device's memory.

  >>> size('(f32[2,3]{1,0}, bf16[4]{0:S(1)})')  # the second is on the chip
  24
  """
  arrays = ARRAY.finditer(shape)
  return sum(bytes_of(m[0]) for m in arrays if 'S(' not in (m[3] or ''))


def bytes_of(array):
  """Returns the bytes of an array's text, wherever it is."""
  kind, lengths, _ = ARRAY.match(array).groups()
  return SIZES.get(kind, 0) * math.prod(int(n) for n in lengths.split(',') if n)


def estimate(x):
  """Returns what a kernel says that it costs: {'flops': ..., ...}, or {}."""
  found = re.search(r'"cost_estimate":(\{[^}]*\})', x.rest)
  return {k: int(v) for k, v in json.loads(found[1]).items()} if found else {}
