"""Every option says what it may be, and is held to it."""

import dataclasses
import importlib
import math
import pkgutil
from typing import Annotated, Any, get_args

import numpy as np
import pytest

from ctxlm import config, plugins, ranges
from ctxlm.errors import UserError
from tests import tiny

INF = math.inf


def builtin():
  """Yields (kind, class) of all plug-ins of the library."""
  for kind, name in plugins.CLASSES.items():
    package = importlib.import_module(f'ctxlm.{kind}')
    for module in pkgutil.iter_modules(package.__path__):
      module = importlib.import_module(f'ctxlm.{kind}.{module.name}')
      cls = vars(module).get(name)
      if cls is not None and kind != 'data.views':
        yield kind, cls


def blocks(cls=config.Config):
  """Yields the dataclasses of the config."""
  yield cls
  for kind in ranges.hints(cls).values():
    if dataclasses.is_dataclass(kind):
      yield from blocks(kind)


CLASSES = [*builtin(), *(('config', cls) for cls in blocks())]
CLASSES += [('config', config.Task), ('evaluators', plugins.Cadence)]
OPTIONS = [
  (cls, field)
  for _, cls in CLASSES
  for field in dataclasses.fields(cls)
  if field.init and field.name not in ('parent', 'name', 'tokenizer')
]


def kind_of(cls, field):
  hint = ranges.hints(cls)[field.name]
  args = get_args(hint)
  return (args[0], args[1:]) if hasattr(hint, '__metadata__') else (hint, ())


def test_there_are_many():
  assert len(CLASSES) > 40 and len(OPTIONS) > 180


@pytest.mark.parametrize(
  'cls, field', OPTIONS, ids=lambda x: getattr(x, 'name', x.__module__)
)
def test_every_number_declares_a_range(cls, field):
  kind, limits = kind_of(cls, field)
  numbers = kind in (int, float) or kind == tuple[int, ...]
  assert bool(limits) or not numbers, f'{field.name} may be any number'


def edges(limit, kind):
  """Returns (numbers just inside, numbers just outside) of a Range."""
  least, most = limit._least, limit._most
  inside, outside = list(limit._other), [math.nan, INF, -INF]
  for end, inwards, is_open in (
    (least, 1, limit._parts[0] == '('),
    (most, -1, limit._parts[3] == ')'),
  ):
    if math.isinf(end):
      end = -inwards * ranges.MOST[kind]
      inside.append(kind(end))
      outside.append(kind(end) * 2)
      continue
    end = kind(end)
    after, before = end + inwards, end - inwards
    if kind is float:  # the next of float32
      after, before = (
        float(np.nextafter(np.float32(end), np.float32(x)))
        for x in (after, before)
      )
    inside.append(after if is_open else end)
    outside.append(end if is_open else before)
  return inside, [x for x in outside if x not in limit._other]


@pytest.mark.parametrize(
  'cls, field', OPTIONS, ids=lambda x: getattr(x, 'name', x.__module__)
)
def test_what_is_just_outside_is_refused(cls, field):
  kind, limits = kind_of(cls, field)
  for limit in limits:
    if isinstance(limit, ranges.Range):
      number = float if kind is float else int
      inside, outside = edges(limit, number)
      wrong = ['1', True, *outside, *([0.5] if number is int else [])]
      pack = (lambda x: (x,)) if kind not in (int, float) else lambda x: x
      for value in inside:
        ranges.check(cls, {field.name: pack(value)})
      for value in wrong:
        with pytest.raises(UserError, match=f'{field.name}=.* must be '):
          ranges.check(cls, {field.name: pack(value)})


@dataclasses.dataclass
class Own:
  """What a researcher may write."""

  plain: Any = None
  width: int = 3
  maybe: int = None
  either: int | str = 'auto'
  text: 'Unknown' = 3  # noqa: F821
  rate: Annotated[float, ranges.Range('(0, 1]')] = 0.5


def test_what_declares_nothing_may_be_anything():
  free = {'plain': object(), 'either': [], 'text': {}, 'maybe': None}
  ranges.check(Own, free)


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'width': 1.5}, 'width=1.5 must be a whole number'),
    ({'width': True}, 'width=True must be a whole number'),
    ({'width': None}, 'width=None must be a whole number'),
    ({'maybe': 'x'}, "maybe='x' must be a whole number"),
    ({'rate': 'x'}, "rate='x' must be a number, more than 0 and 1 or less"),
    ({'rate': 0}, 'rate=0 must be more than 0 and 1 or less'),
    ({'rate': math.nan}, 'rate=nan must be more than 0 and 1 or less'),
  ],
)
def test_kinds(options, wanted):
  with pytest.raises(UserError) as e:
    ranges.check(Own, options)
  assert str(e.value) == wanted


@pytest.mark.parametrize(
  'key, value, wanted',
  [
    ('optimizer.b1', 2.0, '=2.0 must be 0 or more and less than 1'),
    ('optimizer.weight_decay', math.nan, '=nan must be 0 or more'),
    ('seed', 2**32, '=4294967296 must be from 0 to 4294967295'),
    ('batch_size', 10**30, ' must be 1 or more and 2147483647 or less'),
    ('optimizer.name', 'adam', "='adam' must be 'adamw', 'adafactor', "),
    ('optimizer.factors', ('abc',), ' must be (regular expression, factor)'),
    ('optimizer.factors', (('(', 1.0),), ' must be (regular expression'),
    ('optimizer.factors', (('a', -1.0),), ' must be (regular expression'),
    ('tasks.causal.weight', math.inf, '=inf must be finite'),
    ('model.num_heads', 0, '=0 must be 1 or more'),
    ('model.tie_embeddings', 'no', "='no' must be True or False"),
    ('tasks.causal.objective.prefix', 1.0, '=1.0 must be 0 or more and less'),
    ('model', 'transformer', ' must be a block with a name'),
  ],
)
def test_a_config_is_told_the_key(text, key, value, wanted):
  c = tiny.get_config()
  c.unlock()
  *path, last = key.split('.')
  block = c
  for word in path:
    block = block[word]
  if last in block:
    del block[last]
  block[last] = value
  with pytest.raises(UserError) as e:
    config.check(c)
  assert str(e.value).startswith(f'config.{key}') and wanted in str(e.value)
