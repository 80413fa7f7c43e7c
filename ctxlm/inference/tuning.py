"""Contexts' options by a held-out text: a grid, and weights by EM."""

import dataclasses
import itertools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import context
from ctxlm.context import em
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.inference import judging, widening
from ctxlm.inference.passes import of_targets


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What `tune` gives.

  Attributes:
    folder: pathlib.Path.
    step: of a run, or None.
    tokens: how many were predicted.
    alone: nats a token of the model.
    nats: of the mixture.
    said: [NAME:KEY=VALUE,...], the contexts, with the best that was found.
  """

  folder: Path
  step: int | None
  tokens: int
  alone: float
  nats: float
  said: list


def tune(said, split, task='', **opened):
  """Finds contexts' options and weights on a split; returns Tuned.

  Each context's grid is gone through with those before it at their best: of
  each of its points the weights of all are the likeliest ones. An option that
  is said stays as it is said, but for the weights.

  Args:
    said: contexts, see widening.widen.
    split: of the task's data.
    task: '' is the first.
    **opened: see judging.open_program.

  Raises:
    UserError: as there and in widening.widen; or the task is not causal.
  """
  program, loaded, step = judging.open_program(**opened)
  wide = widening.widen(loaded, said, program.placement)
  bench = program.bench
  task = judging.causal_task(bench, task)
  context.note_own(wide.model.contexts, bench.view(task, split), split)
  blocks = [build.parse('context', text) for text in said]
  tried = [
    _Tried(own, block)
    for own, block in zip(wide.model.contexts, blocks, strict=True)
  ]

  def judge(model, batch):
    seen = wide.model.see(
      model, batch['tokens'], batch['segment_ids'], batch['positions']
    )
    params = wide.model.own(seen.params)
    found = [one(tree, seen, batch) for one, tree in zip(tried, params)]
    return [of_targets(seen.logps, batch)[..., None], *found]

  parts = []
  for batch, found in bench.outputs(task, split, judge, wide.params):
    parts.append([x[judging.counted(batch)] for x in found])
  own, *found = (np.concatenate(x) for x in zip(*parts, strict=True))
  if not len(own):
    raise UserError(f'task {task.name!r} predicts no token in {split!r}')
  columns, alone = own, float(-own.mean(dtype=np.float64))
  for one, logps in zip(tried, found, strict=True):
    sets = [np.append(columns, x[:, None], axis=1) for x in logps.T]
    best = min(range(len(sets)), key=lambda i: em.fit(sets[i])[1])
    one.best, columns = one.grid[best], sets[best]
  weights, nats = em.fit(columns)
  return Tuned(
    loaded.folder,
    step,
    len(own),
    alone,
    float(nats),
    [one.said(w) for one, w in zip(tried, weights[1:], strict=True)],
  )


class _Tried:
  # A context at the points of its grid.

  def __init__(self, own, block):
    self._context, self._block = own, block
    options = own.grid if isinstance(own, context.Tuned) else {}
    options = {k: v for k, v in options.items() if k not in block}
    points = itertools.product(*options.values())
    self.grid = [dict(zip(options, p, strict=True)) for p in points]
    self.best = self.grid[0]

  def __call__(self, params, seen, batch):
    # log p of the targets at each point, [b, l, points].
    own, grid = self._context, self.grid
    if not isinstance(own, context.Tuned):
      return of_targets(own.rows(params, seen), batch)[..., None]
    most = {k: max(point[k] for point in grid) for k in grid[0]}
    evidence = dataclasses.replace(own, **most).evidence(params, seen)

    alone, targets = of_targets(seen.logps, batch), batch['targets']

    def at(point):
      votes = dataclasses.replace(own, **point).votes(evidence, seen)
      return context.tally_of(*votes, targets, alone)

    points = {k: jnp.array([p[k] for p in grid]) for k in grid[0]}
    if not points:
      return at({})[..., None]
    return jnp.moveaxis(jax.lax.map(at, points), 0, -1)

  def said(self, weight):
    # The context as a command line has it.
    # Rounded down, so that all of them don't sum to more than 1.
    weight = math.floor(1e4 * weight) / 1e4
    block = self._block | self.best | {'weight': weight}
    name = block.pop('name')
    return f'{name}:' + ','.join(f'{k}={v}' for k, v in block.items())
