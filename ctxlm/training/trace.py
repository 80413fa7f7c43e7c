"""What a profiler's trace says: how long each operation of a program took."""

import collections
import dataclasses
import re

from jax.profiler import ProfileData

# A line of HLO's text: name, operation, and where in the model it is from.
LINE = re.compile(
  r'^\s*(?:ROOT )?%?([\w.-]+) = (?:\(.*?\)|\S+) ([\w-]+)\(', re.MULTILINE
)
OP_NAME = re.compile(r'op_name="([^"]*)"')
# Parts of a name that aren't of a model: transformations, and how JAX calls.
WRAPPER = re.compile(
  r'[\w-]*\(.*\)|while|body|cond|closed_call|checkpoint|custom_\w+_call\w*'
  r'|rematted_computation|shard_map|shmap_body|train_step|branch_\d+_fun'
)
# Their time is that of what they hold, which has lines of its own.
HOLDERS = ('while', 'conditional')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of a compiled program: its operation, and its name in the model."""

  opcode: str
  op_name: str = ''

  @property
  def readable(self):
    """Returns 'where in the model: what', for a person.

    >>> Instruction('dot', 'jit(f)/transpose(jvp(M))/layers_0/up/mul').readable
    'layers_0/up: mul, backward'
    >>> Instruction('copy').readable
    "copy, the compiler's own"
    """
    if not self.op_name:
      return f"{self.opcode}, the compiler's own"
    name = self.op_name.split(';')[0]  # of several that were made one
    *parts, what = name.split('/')
    where = '/'.join(p for p in parts if not WRAPPER.fullmatch(p))
    text = f'{where}: {what}' if where else what
    return f'{text}, backward' if 'transpose(' in name else text


def instructions(text):
  """Returns {name: Instruction} of a module's HLO text."""
  found = {}
  for line in text.splitlines():
    if match := LINE.match(line):
      said = OP_NAME.search(line)
      found[match[1]] = Instruction(match[2], said[1] if said else '')
  return found


def times(path):
  """Returns {(module, instruction): nanoseconds} of a trace, on all devices.

  What ran within another instruction on the same line is not that one's time.

  Args:
    path: of an .xplane.pb, of a CPU, a GPU or a TPU. A TPU's trace does not
      say the module, which is '' then.
  """
  total = collections.Counter()
  for plane in ProfileData.from_file(str(path)).planes:
    tpu, rest = plane.name.startswith('/device:TPU'), {}
    for line in plane.lines:
      if not tpu:
        _add(total, list(_called(line, rest)))
      elif line.name == 'XLA Ops':
        _add(total, [_on_tpu(event) for event in line.events])
    # On a CPU what several threads do goes on after the call has returned, up
    # to an event of the same number.
    for key, returned, end in rest.values():
      if key and end > returned:
        total[key] += end - returned
  return total


def _on_tpu(event):
  name = event.name.split(' = ')[0].lstrip('%')
  return event.start_ns, event.duration_ns, ('', name)


def _called(line, rest):
  for event in line.events:
    stats, start = dict(event.stats), event.start_ns
    if 'hlo_op' in stats:
      key = stats.get('hlo_module', ''), stats['hlo_op']
      if (number := stats.get('_p')) is not None:
        end = rest.get(number, (None, 0, 0))[2]
        rest[number] = key, start + event.duration_ns, end
      yield start, event.duration_ns, key
    elif event.name.startswith('end: ') and '_c' in stats:
      key, returned, _ = rest.get(stats['_c'], (None, 0, 0))
      rest[stats['_c']] = key, returned, start


def _add(total, events):
  under_way = []  # [(end, key)] of those that hold the next
  for start, took, key in sorted(events, key=lambda e: (e[0], -e[1])):
    while under_way and under_way[-1][0] <= start:
      under_way.pop()
    if under_way:
      total[under_way[-1][1]] -= took
    total[key] += took
    under_way.append((start + took, key))


def operations(total, modules):
  """Returns [(readable name, nanoseconds)], the dearest first.

  Args:
    total: of `times`.
    modules: [(name, {instruction: Instruction})] of what was compiled. Of
      several of one name, that which has most of a trace's instructions is
      taken.
  """
  traced = collections.defaultdict(set)
  for module, name in total:
    traced[module].add(name)
  known = {
    module: max(
      (of for called, of in modules if module in ('', called)),
      key=lambda of, names=names: len(names & of.keys()),
      default={},
    )
    for module, names in traced.items()
  }
  found = collections.Counter()
  for (module, name), took in total.items():
    plain = re.sub(r'[.\d]+$', '', name)
    instruction = known[module].get(name, Instruction(plain))
    if instruction.opcode not in HOLDERS:
      found[instruction.readable] += took
  return found.most_common()
