"""Which devices a collective is among, from XLA's text of it."""

import functools
import math
import re

import numpy as np


@functools.cache
def _groups(text, count):
  # Lists of the devices that a collective is among.
  pairs = re.search(r'source_target_pairs=\{(\{.*?\})\}', text)
  if pairs:
    found = re.findall(r'\{(\d+),(\d+)\}', pairs[1])
    return [(int(a), int(b)) for a, b in found if a != b]
  listed = re.search(r'replica_groups=\{(\{.*?\})\}', text)
  if listed:
    found = re.findall(r'\{([\d,]+)\}', listed[1])
    return [tuple(map(int, g.split(','))) for g in found]
  made = re.search(
    r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text
  )
  if made:
    shape, lengths, order = (
      tuple(map(int, g.split(','))) if g else None for g in made.groups()
    )
    ids = np.arange(math.prod(lengths)).reshape(lengths)
    ids = ids if order is None else ids.transpose(order)
    return [tuple(g) for g in ids.reshape(shape).tolist()]
  named = re.search(
    r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}',
    text,
  )
  if named:
    return _named(*named.groups())
  return [tuple(range(count))]


def _named(mesh, order, axes):
  # Groups along axes of a mesh of the compiler's own: 'a'=2,'b'=4 and {'b'}, or
  # a part of an axis, {'b':(1)2}, which is 2 of its devices behind 1.
  sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", mesh)}
  ids = np.arange(math.prod(sizes.values()))
  if order:
    made = re.match(r'\[([\d,]+)\](?:T\(([\d,]+)\))?', order)
    if made:
      ids = ids.reshape([int(n) for n in made[1].split(',')])
      ids = ids.transpose(
        [int(n) for n in made[2].split(',')] if made[2] else None
      )
    else:
      ids = np.array([int(n) for n in order.split(',')])
  along, shape = [], []
  parts = {}
  for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", axes):
    parts[name] = int(before or 1), int(size or sizes[name])
  for name, length in sizes.items():
    before, size = parts.get(name, (1, 1))
    along += [len(shape) + 1] if name in parts else []
    shape += [before, size, length // before // size]
  ids = np.moveaxis(ids.reshape(shape), along, range(-len(along), 0))
  width = math.prod(size for _, size in parts.values())
  return [tuple(g) for g in ids.reshape(-1, width).tolist()]


def span(rest, shape, places=None):
  """Returns along which axes a collective is: (names, devices, far).

  Args:
    rest: text of its attributes.
    shape: {axis: size} of the mesh.
    places: the number of each device's slice or node; None is one for all.

  Returns:
    names of the axes, how many devices a group has, and whether one has
    devices of several slices.
  """
  sizes = tuple(shape.values())
  count = math.prod(sizes)
  listed = re.search(
    r'(source_target_pairs|replica_groups)='
    r'(\{\{.*?\}\}|\[[^\s]*|mesh\[[^{]*\{[^}]*\})',
    rest,
  )
  groups = _groups(listed[0] if listed else '', count)
  if not groups:
    return (), 1, False
  members = np.stack(np.unravel_index(np.array(groups), sizes), -1)
  varies = (members != members[:, :1]).any((0, 1))
  places = np.zeros(count, int) if places is None else np.asarray(places)
  per_slice = places[np.array(groups)]
  far = bool((per_slice != per_slice[:, :1]).any())
  names = tuple(n for n, v in zip(shape, varies, strict=True) if v)
  return names, len(groups[0]), far
