"""An experiment: one Python file that asks a question and judges the answer.

The file's docstring states the claim and its source, and it defines

    get_config(scale)  -> the recipe, as of `ctxlm train --config FILE:SCALE`
    sweep(scale)       -> overrides of it, one mapping a point
    criteria()         -> [Claim]: what must hold
    report(results)    -> [Plot]
    SEEDS              verdicts.Seeds: those of tuning, and how many it takes

where scale is 'smoke', 'small' or 'large'. Plug-ins of its own (Source,
Model, Objective, Evaluator) may stand beside them.
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctxlm import recipes
from ctxlm.errors import UserError
from ctxlm.lab import verdicts

PARTS = ('get_config', 'sweep', 'criteria', 'report')


def load(path):
  """Returns the module of an experiment: a name of ours, or a path.

  Raises:
    UserError: there is none, its code fails, or it lacks one of PARTS.
  """
  path = recipes.find(str(path))
  module = recipes.open_module(path)
  for name in PARTS:
    if name not in vars(module):
      hint = (
        '; of a recipe say what varies, such as '
        '--over optimizer.learning_rate=1e-4,3e-4'
        if 'get_config' in vars(module)
        else ''
      )
      raise UserError(f'{path} is no experiment: it has no {name}(){hint}')
  if not isinstance(vars(module).get('SEEDS'), verdicts.Seeds):
    raise UserError(
      f'{path} names no seeds: say SEEDS = verdicts.Seeds(tuned=(0, 1)), those '
      'that its settings were chosen on, () for none'
    )
  return module


def listed(module, name, *args):
  """Returns what an experiment's function gives, as a list.

  Raises:
    UserError: what it raises, with the line; or it gives nothing.
  """
  path = Path(module.__file__)

  def give():
    found = vars(module)[name](*args)
    if found is None:
      raise UserError(f'{path}: {name}() returns None')
    return list(found)

  return recipes.run(give, path)


def product(*parts):
  """Returns all combinations of overrides.

  Args:
    *parts: {key: values}, or a list of overrides.

  >>> product({'seed': (0, 1)}, [{'num_steps': 9}])
  [{'seed': 0, 'num_steps': 9}, {'seed': 1, 'num_steps': 9}]
  """
  lists = []
  for part in parts:
    if isinstance(part, dict):
      lists += [[{key: v} for v in values] for key, values in part.items()]
    else:
      lists.append(list(part))
  return [
    {k: v for one in combination for k, v in one.items()}
    for combination in itertools.product(*lists)
  ]


def zipped(values):
  """Returns overrides that take the values of all keys in step.

  >>> zipped({'num_steps': (10, 20), 'batch_size': (8, 4)})
  [{'num_steps': 10, 'batch_size': 8}, {'num_steps': 20, 'batch_size': 4}]
  """
  return [
    dict(zip(values, row, strict=True))
    for row in zip(*values.values(), strict=True)
  ]


def chain(*parts):
  """Returns lists of overrides, one after the other.

  >>> chain([{'seed': 0}], product({'num_steps': (10, 20)}))
  [{'seed': 0}, {'num_steps': 10}, {'num_steps': 20}]
  """
  return list(itertools.chain(*parts))


class Unfinished(Exception):
  """A claim asks for runs that are not done yet."""


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim of the literature, and the code that judges it.

  Attributes:
    claim: in words.
    source: paper and section.
    paper: its figure, in words.
    criterion: in words.
    check: function of Results that gives a verdicts.Finding.
  """

  claim: str
  source: str
  paper: str
  criterion: str
  check: Callable


@dataclasses.dataclass(frozen=True)
class Series:
  """A curve; of three seeds on a 95 % band.

  Attributes:
    label: in the legend; '' is not in it.
    x: [n].
    ys: [seeds, n]; nan where a seed has none.
    kind: 'line'; 'points', which nothing joins; 'star', a point above others;
      or 'faint', a line behind others.
  """

  label: str
  x: Any
  ys: Any
  kind: str = 'line'


@dataclasses.dataclass(frozen=True)
class Line:
  """A theory line: label, and a level or (x [n], y [n]); None isn't drawn."""

  label: str
  y: Any


@dataclasses.dataclass(frozen=True)
class Plot:
  """One picture, NAME.png.

  Attributes:
    name: of the file.
    title: what it shows.
    x, y: labels of the axes, with units.
    series: [Series].
    lines: [Line].
    log: axes that are logarithmic: '', 'x', 'y' or 'xy'.
  """

  name: str
  title: str
  x: str
  y: str
  series: list
  lines: list = ()
  log: str = ''
