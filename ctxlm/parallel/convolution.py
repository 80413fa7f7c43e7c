"""The work of a convolution, from XLA's text of it."""

import re

import numpy as np


def convolution(rest, lhs, rhs, out):
  """Returns the FLOPs of a convolution.

  Args:
    rest: text of its attributes.
    lhs, rhs, out: lengths of its operands, and of what it gives.
  """
  # As XLA counts it: places where the window lies on the input, and not on
  # padding. The TPU's compiler makes convolutions of batched products, whose
  # windows lie mostly on padding.
  left, right, result = re.search(
    r'dim_labels=(\w+)_(\w+)->(\w+)', rest
  ).groups()
  window = dict(re.findall(r'(\w+)=(-?\w[\w\-]*)', _window(rest)))
  spatial = [c for c in result if c.isdigit()]

  def numbers(key, default):
    said = window.get(key)
    if said is None:
      return [default] * len(spatial)
    return [
      tuple(map(int, n.split('_'))) if '_' in n else int(n)
      for n in said.split('x')
    ]

  options = zip(
    numbers('stride', 1),
    numbers('pad', (0, 0)),
    numbers('lhs_dilate', 1),
    numbers('rhs_dilate', 1),
    strict=True,
  )
  valid = 1
  for c, (stride, pad, lhs_dilate, rhs_dilate) in zip(
    sorted(spatial), options, strict=True
  ):
    length = lhs[left.index(c)]
    at = np.add.outer(
      np.arange(out[result.index(c)]) * stride - pad[0],
      np.arange(rhs[right.index(c)]) * rhs_dilate,
    )
    inside = (at >= 0) & (at % lhs_dilate == 0) & (at // lhs_dilate < length)
    valid *= int(inside.sum())
  groups = re.search(r'batch_group_count=(\d+)', rest)
  batch = lhs[left.index('b')] // (int(groups[1]) if groups else 1)
  # The kernel's input features are those of one group already.
  return 2 * rhs[right.index('i')] * out[result.index('f')] * batch * valid


def _window(rest):
  found = re.search(r'window=\{([^}]*)\}', rest)
  return found[1] if found else ''
