"""Where a tensor of ours lies in a reference checkpoint, and the way back.

A family's table pairs modules: 'stack/layers_{}/mlp/up' with the reference's
'encoder.layer.{}.intermediate.dense'. A module's tensors follow from it: our
kernel, scale and embedding are its weight. Kernels of ours are [in, out] with
heads as axes of their own; the weight of a torch Linear is [out, in], GPT-2's
is [in, out]. Each axis of the reference is a run of axes of ours, so a part
of one is a part of the other: a device reads the bytes of its shard alone.
"""

import dataclasses
import math
import re

import numpy as np

LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'embedding': 'weight',
  'bias': 'bias',
}
SPAN = {'heads/span/dense': 'qa_outputs'}  # of every ...ForQuestionAnswering


@dataclasses.dataclass(frozen=True)
class Place:
  """Where one tensor of ours lies.

  Attributes:
    names: of the reference's tensor; the others are copies of the first.
    axes: for each axis of the reference, the axes of ours that it is made of.
    part, parts: the reference holds `parts` tensors like ours side by side
      along `axis`; this is number `part`.
    axis: of the reference.
  """

  names: tuple
  axes: tuple
  part: int = 0
  parts: int = 1
  axis: int = 0

  def their_shape(self, shape):
    """Returns the reference's shape for our `shape`."""
    sizes = [math.prod(shape[a] for a in group) for group in self.axes]
    sizes[self.axis] *= self.parts
    return tuple(sizes)

  def read(self, tensor, shape, index):
    """Returns part `index` of our tensor.

    Args:
      tensor: the reference's; `tensor[slices]` is a numpy array.
      shape: of the whole tensor of ours.
      index: tuple of slices into ours.
    """
    whole = [s.indices(n)[:2] for s, n in zip(index, shape, strict=True)]
    theirs, split, rest = [], [], []
    for number, group in enumerate(self.axes):
      # Cut along the group's first axis; the others are cut after reading.
      size = math.prod(shape[a] for a in group[1:])
      first, last = whole[group[0]] if group else (0, 1)
      offset = 0
      if number == self.axis and self.parts > 1:
        offset = self.part * math.prod(shape[a] for a in group)
      theirs.append(slice(offset + first * size, offset + last * size))
      for i, a in enumerate(group):
        split.append(last - first if i == 0 else shape[a])
        rest.append(slice(None) if i == 0 else slice(*whole[a]))
    x = tensor[tuple(theirs)].reshape(split)[tuple(rest)]
    order = [a for group in self.axes for a in group]
    return x.transpose(np.argsort(order))

  def write(self, x):
    """Returns the reference's tensor, or its part, of our array `x`."""
    order = [a for group in self.axes for a in group]
    shape = [math.prod(x.shape[a] for a in group) for group in self.axes]
    return np.ascontiguousarray(x.transpose(order).reshape(shape))


def place(path, shape, table, conv1d=False):
  """Returns the Place of a tensor of ours, or None if the table has none.

  Args:
    path: ours, such as 'stack/layers_3/mlp/up/kernel'.
    shape: ours.
    table: {our module: their module}. The value may be a tuple of names, the
      first of which is written, or end in '[i/n]': part i of n, or in a
      tensor's name, as '[bias]', which is then all that the module has. A key
      with the name of a tensor is of tensors: their names are whole, and the
      reference may have axes of 1 in front of ours.
    conv1d: whether weights are [in, out].
  """
  number = re.search(r'layers_(\d+)', path)
  plain = re.sub(r'layers_\d+', 'layers_{}', path)
  module, _, leaf = plain.rpartition('/')
  names = table.get(plain, table.get(module))
  if names is None:
    return None
  names = names_of(names)
  if leaf_of(names):
    names = tuple(n.partition('[')[0] for n in names)
  if number:
    names = tuple(n.replace('{}', number[1]) for n in names)
  axes = tuple(range(len(shape)))
  if plain in table:
    front = names[0].count('[1]')
    names = tuple(n.replace('[1]', '') for n in names)
    return Place(names, ((),) * front + tuple((a,) for a in axes))
  part, parts = 0, 1
  match = re.search(r'\[(\d+)/(\d+)\]$', names[0])
  if match:
    part, parts = int(match[1]), int(match[2])
    names = (names[0][: match.start()],)
  names = tuple(f'{n}.{LEAVES[leaf]}' for n in names)
  if leaf == 'kernel':
    inner = 2 if module.endswith('/out') else 1
    groups = axes[:inner], axes[inner:]
    groups = groups if conv1d else groups[::-1]
    return Place(names, groups, part, parts, 1 if conv1d else 0)
  if leaf == 'embedding':
    return Place(names, tuple((a,) for a in axes), part, parts)
  return Place(names, (axes,), part, parts)


def names_of(names):
  """Returns a table's value as a tuple of names."""
  return (names,) if isinstance(names, str) else names


def leaf_of(names):
  """Returns the one tensor that a module of a table has; '' is any."""
  match = re.search(r'\[([a-z]+)\]$', names_of(names)[0])
  return match[1] if match else ''


def head_shapes(table, shapes):
  """Returns {our path: shape} of a head, as the checkpoint has it.

  Nothing else says how large a head is: how many labels, for example.

  Args:
    table: {our module: their module} of the head.
    shapes: {their tensor's name: shape}.

  Raises:
    LookupError: it has some of the tensors; the name of one that it lacks.
  """
  our_shapes, lacks = {}, []
  for module, names in table.items():
    plain = [n.partition('[')[0] for n in names_of(names)]
    only = leaf_of(names)
    for leaf in (only,) if only else ('weight', 'bias'):
      their = [f'{n}.{leaf}' for n in plain]
      shape = next((shapes[n] for n in their if n in shapes), None)
      if shape is None:
        lacks.append(their[0])
      elif leaf == 'bias':
        our_shapes[f'{module}/bias'] = tuple(shape)
      else:  # a norm's scale, or a linear map [out, in]
        ours = 'kernel' if len(shape) == 2 else 'scale'
        our_shapes[f'{module}/{ours}'] = tuple(shape[::-1])
  if our_shapes and lacks:
    raise LookupError(lacks[0])
  return our_shapes
