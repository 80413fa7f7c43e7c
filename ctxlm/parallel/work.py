"""What a compiled program does in a step, counted from XLA's text of it.

XLA's own cost analysis counts the body of a loop once, however often it turns,
and scanned layers and micro-batches are loops. Here a body counts as often as
it runs.
"""

import dataclasses
import math
import re

from ctxlm.parallel import hlo
from ctxlm.parallel.convolution import convolution
from ctxlm.parallel.groups import span

COLLECTIVES = {
  # How often a chip of n sends its part, whose size is that of the whole
  # array / n: rings (scaling book, "Sharded matrices").
  'all-reduce': lambda n: 2 * (n - 1) / n,
  'all-gather': lambda n: (n - 1) / n,
  'reduce-scatter': lambda n: (n - 1) / n,
  'all-to-all': lambda n: (n - 1) / n,
  'ragged-all-to-all': lambda n: (n - 1) / n,
  'collective-permute': lambda n: 1,
  'collective-broadcast': lambda n: 1,
}
# What moves nothing by itself.
FREE = {
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'iota',
  'while', 'conditional', 'call', 'after-all', 'partition-id', 'replica-id',
  'opt-barrier', 'async-update', 'async-done', 'domain', 'add-dependency',
  'copy-done', 'slice-done', 'async-start',
}  # fmt: skip
SLICES = {'dynamic-slice', 'slice', 'gather'}


@dataclasses.dataclass(frozen=True)
class Sent:
  """What one kind of collective sends over some axes in a step, of one chip.

  Attributes:
    kind: a key of COLLECTIVES.
    axes: names of the mesh's axes, or () where it is along none of them.
    count: how many a step.
    size: bytes that a chip sends.
    slices: whether they go to another slice.
  """

  kind: str
  axes: tuple
  count: int
  size: float
  slices: bool = False


@dataclasses.dataclass(frozen=True)
class Work:
  """What a chip does in a step.

  Attributes:
    flops: of products of matrices and convolutions; a multiplication and an
      addition are two.
    kernels: how often one runs that doesn't say what it costs, so has no FLOPs.
    moved: bytes to and from its memory, each operand and result once.
    sent: (Sent, ...).
  """

  flops: float
  kernels: int
  moved: float
  sent: tuple


def of_text(text, shape, places=None):
  """Returns the Work of one device.

  Args:
    text: of a compiled program, `compiled.as_text()`.
    shape: {axis: size} of the mesh, in its order; devices are numbered along
      the last axis first.
    places: the number of each device's slice, or node; None is one for all.

  Returns:
    Work. Loops of which the compiler does not say how often they turn, such as
    that over the steps themselves, count once.
  """
  program = hlo.Program(text)
  flops = kernels = moved = 0
  collectives = {}
  for name, times in program.times().items():
    fused = name in program.fused
    for x in program.computations[name]:
      flops += times * _flops(program, x)
      if 'tpu_custom_call' in x.rest and not hlo.estimate(x).get('flops'):
        kernels += times
      if x.opcode.removesuffix('-start') in COLLECTIVES:
        # Of one that is fused, each step has a line of it; it is sent once.
        channel = re.search(r'channel_id=(\d+)', x.rest) if fused else None
        key = channel[1] if channel else (name, x.name)
        if key not in collectives or times < collectives[key][0]:
          collectives[key] = times, x, name
      if not fused:
        moved += times * _moved(program, x)
  sent = {}
  for times, x, name in collectives.values():
    kind = x.opcode.removesuffix('-start')
    axes, n, far = span(x.rest, shape, places)
    size = _whole(program, x, kind, n)
    if name.startswith('all-reduce-scatter'):  # a TPU's name of such a fusion
      kind = 'reduce-scatter'
    size *= COLLECTIVES[kind](n)
    if n > 1:
      key = kind, axes, far
      count, total = sent.get(key, (0, 0))
      sent[key] = count + times, total + times * size
  found = (Sent(k, a, c, s, f) for (k, a, f), (c, s) in sent.items())
  ordered = sorted(found, key=lambda s: (-s.size, s.kind, s.axes))
  return Work(flops, kernels, moved, tuple(ordered))


def _flops(program, x):
  """Returns the FLOPs of a product, a convolution or a kernel; else 0."""
  if x.opcode == 'dot':
    lhs = hlo.dims(program.operands(x)[0].shape)
    over = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', x.rest)[1]
    inner = math.prod(lhs[int(i)] for i in over.split(',') if i)
    return 2 * math.prod(hlo.dims(x.shape)) * inner
  if x.opcode == 'convolution':
    lhs, rhs = (hlo.dims(y.shape) for y in program.operands(x)[:2])
    return convolution(x.rest, lhs, rhs, hlo.dims(x.shape))
  if x.opcode == 'custom-call':
    return hlo.estimate(x).get('flops', 0)
  return 0


def _moved(program, x):
  """Returns the bytes that an instruction reads and writes in memory."""
  if x.opcode in FREE or x.opcode.endswith('-done'):
    return 0
  if x.opcode == 'custom-call' and 'tpu_custom_call' not in x.rest:
    return 0
  if x.opcode in SLICES:
    return 2 * hlo.size(x.shape)
  read = program.operands(x)
  if x.opcode == 'dynamic-update-slice':
    return 2 * hlo.size(read[1].shape)
  if x.opcode.removesuffix('-start') in COLLECTIVES:
    return hlo.size(x.shape) if not x.opcode.endswith('-start') else 0
  if x.opcode.endswith('-start'):  # copies and slices: (to, from, ...)
    return 2 * hlo.size(hlo.ARRAY.search(x.shape)[0])
  if x.opcode != 'fusion':
    return hlo.size(x.shape) + sum(hlo.size(y.shape) for y in read)
  return _fused(program, x, read)


def _fused(program, x, read):
  # Of an array of which a fusion reads or writes a part, the part counts.
  inside = program.computations.get(x.called('calls'), ())
  users = {}
  for y in inside:
    for name in y.operands:
      users.setdefault(name, []).append(y)
  total, updated = 0, set()
  root = next((y for y in inside if y.root), None)
  ends = [root] if root else []
  if root is not None and root.opcode == 'tuple':
    ends = program.operands(root)
  parts = []
  for y in ends:
    while y.opcode == 'bitcast':
      y = program.operands(y)[0]
    if y.opcode == 'dynamic-update-slice':
      whole, part = program.operands(y)[:2]
      while whole.opcode in ('bitcast', 'copy'):
        whole = program.operands(whole)[0]
      updated.add(whole.name)
      parts.append(hlo.size(part.shape))
  if updated:
    arrays = [m[0] for m in hlo.ARRAY.finditer(x.shape)]
    sizes = sorted((hlo.size(a) for a in arrays), reverse=True)
    total += sum(parts) + sum(sizes[len(parts) :])
  else:
    total += hlo.size(x.shape)
  for y in inside:
    if y.opcode != 'parameter' or y.name in updated:
      continue
    number = int(y.operands[0])
    if number >= len(read):
      continue
    own, uses = hlo.size(read[number].shape), users.get(y.name, ())
    if uses and all(u.opcode in SLICES for u in uses):
      own = min(own, sum(hlo.size(u.shape) for u in uses))
    total += own
  return total


def _whole(program, x, kind, n):
  """Returns the bytes of the whole array that a collective is of."""
  arrays = [m[0] for m in hlo.ARRAY.finditer(x.shape)]
  if x.opcode.endswith('-start') and kind != 'all-reduce':
    # (what goes in, what comes out, and what it works with).
    given = len(program.operands(x))
    arrays = arrays[given : 2 * given]
  total = sum(map(hlo.bytes_of, arrays))
  return total * n if kind == 'reduce-scatter' else total
