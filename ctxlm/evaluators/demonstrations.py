"""Which examples are shown before a query, and in which order."""

import numpy as np

from ctxlm.errors import UserError


def draw(count, shots, rng, labels=None):
  """Returns the numbers of the examples that are drawn: int [shots].

  Args:
    count: examples that there are.
    shots: how many are shown.
    rng: numpy Generator.
    labels: of each example, where as many are to be drawn of each; where the
      number doesn't divide, some have one more. None draws from all alike.

  Raises:
    UserError: there are fewer.

  >>> rng = np.random.default_rng(0)
  >>> drawn = draw(6, 4, rng, labels=['a', 'a', 'a', 'a', 'b', 'b'])
  >>> sorted(drawn)[2:]
  [4, 5]
  """
  need(count, shots)
  if labels is None:
    return rng.choice(count, shots, replace=False).tolist()
  chosen = []
  for own, share in shares(labels, shots, rng):
    chosen += rng.choice(own, share, replace=False).tolist()
  return rng.permutation(chosen).tolist()


def nearest(similarity, shots, rng, labels=None):
  """Returns the numbers of the most alike examples, the most alike last.

  kNN-augmented in-context examples, Liu et al. 2022 (arXiv:2101.06804), who
  have the most alike first. Of equal ones the first is the more alike.

  Args:
    similarity: float [count]; -inf of what may not be shown.
    shots, rng, labels: see `draw`.

  >>> nearest(np.array([0.1, 0.9, 0.5]), 2, None)
  [2, 1]
  """
  need(int(np.isfinite(similarity).sum()), shots)
  order = np.argsort(-similarity, kind='stable')
  order = order[np.isfinite(similarity[order])]
  if labels is None:
    return order[:shots][::-1].tolist()
  kept = set()
  labels = np.array(labels)
  given = labels[order]
  for own, share in shares(given, shots, rng):
    kept.update(order[own[:share]].tolist())
  return [i for i in order[::-1].tolist() if i in kept]


def shares(labels, shots, rng):
  """Yields (the numbers of a label's examples int [n], how many are shown).

  Which labels have one more is drawn.

  Raises:
    UserError: a label has fewer.
  """
  labels = np.array(labels)
  names = np.unique(labels)
  more = rng.permutation(len(names)) < shots % len(names)
  for name, extra in zip(names, more):
    own = np.flatnonzero(labels == name)
    share = shots // len(names) + int(extra)
    if len(own) < share:
      raise UserError(
        f'shots={shots}, balanced: {share} are needed of the label '
        f'{str(name)!r}, which {len(own)} examples have'
      )
    yield own, share


def ordered(chosen, order, seed):
  """Returns them in an order.

  Args:
    chosen: numbers.
    order: 0 leaves them; any other is a permutation that is drawn by it.
    seed: of the draw, too.
  """
  if not order:
    return list(chosen)
  rng = np.random.default_rng([seed, order])
  return [chosen[i] for i in rng.permutation(len(chosen))]


def need(count, shots):
  """Raises UserError if there are fewer examples than are to be shown."""
  if shots > count:
    raise UserError(
      f'shots={shots} is more than the {count} examples that there are to show'
    )
