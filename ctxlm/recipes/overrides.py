"""Overrides: `--config.PATH=VALUE` reaches every option, written or not.

What may stand at a path is declared by the dataclasses of ctxlm.config, and
within a plug-in's block by the class that its name stands for; so the kind of
a value doesn't depend on what a recipe happens to set. A block's name is set
before its options, in whatever order they come, and with another name a block
begins anew, with the defaults of what it names.
"""

import ast
import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ml_collections

from ctxlm import config as config_lib
from ctxlm import plugins, ranges
from ctxlm.errors import UserError

MOST = 12  # options that a line lists
WORDS = {
  'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False
}  # fmt: skip
WORDS_OF_PYTHON = {'true': 'True', 'false': 'False', 'none': 'None'}


@dataclasses.dataclass(frozen=True)
class Many:
  """A block of blocks of one kind, whose names are the user's."""

  kind: Any
  needs: tuple  # what a new one needs, below its name


@dataclasses.dataclass(frozen=True)
class Option:
  """What is no block: its type, and what it is where nothing is said."""

  hint: Any
  default: Any = None


# What the keys of ctxlm.config's open blocks stand for: a kind of plug-in, or
# many blocks.
OPEN = {
  'model': 'models',
  'adapt': 'models.adapters',
  'data': 'data.sources',
  'objective': 'objectives',
  'tasks': Many(config_lib.Task, ('.data.name', '.objective.name')),
  'evaluators': Many('evaluators', ('.name',)),
  'context': Many('context', ('.name',)),
}


def apply(config, overrides):
  """Sets what overrides say; the config may be locked, and stays so.

  Args:
    config: as a recipe gives it; changed in place. Where a key holds a
      FieldReference, all that refer to it follow.
    overrides: (path, value) pairs; 'model.num_heads', or below a list a number,
      'optimizer.factors.0.1'. A value that is a text is read as the option's
      kind wants it. The last of a path counts.

  Returns:
    The config.

  Raises:
    UserError: no such option, with those that there are; or a text that is no
      value of its kind. Whether a value may be, ctxlm.config.check says.

  >>> c = config_lib.base()
  >>> c = apply(c, [('model.num_kv_heads', '2'), ('seed', '7')])
  >>> c.model.num_kv_heads + c.seed
  9
  """
  given = dict(overrides)
  # What contains comes before what it contains, and a name before the others.
  order = sorted(given, key=lambda p: (p.count('.'), not p.endswith('.name')))
  with config.unlocked(), config.ignore_type():
    for path in order:
      _set(config, path, given[path], given)
  return config


def _set(config, path, value, given):
  block, place, keys = config, config_lib.Config, path.split('.')
  for n, key in enumerate(keys):
    found = _find(place, block, '.'.join(keys[: n + 1]), path, given)
    rest = keys[n + 1 :]
    inner = isinstance(place, str) and isinstance(found, str)
    if inner and (not rest or isinstance(block.get(key), (tuple, list))):
      found = Option(Any)  # a plug-in's block, or blocks, or none
    if isinstance(found, Option):
      if _names_another(place, block, key, value):
        _clear(place, block, path, value)
      if not kind_of(found.hint):
        old = block.get_type(key) if key in block else type(found.default)
        found = dataclasses.replace(found, hint=old)
      block[key] = _within(block.get(key), rest, value, found, path)
      return
    if rest:
      if not isinstance(block.get(key), ml_collections.ConfigDict):
        block[key] = _new(found)
      block, place = block[key], found
  value = read(value, dict, path)
  if _is_block(found):  # its keys all stay
    for name, each in value.items():
      _set(config, f'{path}.{name}', each, given)
  else:
    block[key] = ml_collections.ConfigDict(value)


def _names_another(place, block, key, value):
  return (
    place in plugins.CLASSES and key == 'name' and block.get('name') != value
  )


def _clear(kind, block, path, name):
  """Leaves the keys of a block that are the loop's, not the plug-in's."""
  try:
    plugins.find(kind, name)
  except UserError as e:
    raise UserError(f'--config.{path}: {e}') from e
  for key in set(block) - set(plugins.own(kind, {})):
    del block[key]


def _new(place):
  """Returns the block that stands where there was none."""
  if place is config_lib.Task:
    return {'data': {}, 'objective': {}, 'weight': 1.0}
  return {}


def _find(place, block, upto, path, given):
  """Returns what the last key of `upto` stands for: an Option, or a block.

  Args:
    place: what the block is: a dataclass of ctxlm.config, a kind of plug-ins,
      or Many.
    block: ConfigDict.
    upto: the path, so far.
    path: the whole of it.
    given: {path: value} of all overrides.
  """
  above, _, key = upto.rpartition('.')
  if isinstance(place, Many):
    needed = [f'--config.{upto}{end}' for end in place.needs]
    new = all(n[len('--config.') :] in given for n in needed)
    if key in block or new or upto in given:
      return place.kind
    raise UserError(
      f'--config.{path}: no {key!r} in config.{above}.'
      f'{plugins.suggest(key, block)} A new one needs {" and ".join(needed)}'
    )
  if place in plugins.CLASSES:
    return _find_option(place, block, upto, path)
  hints = ranges.hints(place)
  if key not in hints:
    near = below(block, key)
    near = near and f' Did you mean {near!r}?'
    raise UserError(
      f'--config.{path}: no key {key!r}'
      f'{f" in config.{above}" if above else ""}.'
      f'{near or plugins.suggest(key, hints)}'
    )
  if hints[key] is config_lib.Open:
    return OPEN[key]
  return hints[key] if _is_block(hints[key]) else Option(hints[key])


def below(block, word):
  """Returns the path of a key that stands in a block of this one, or ''.

  >>> below(config_lib.base(), 'lr')
  'optimizer.learning_rate'
  """
  for name, inner in block.items():
    if isinstance(inner, ml_collections.ConfigDict):
      for key in inner:
        if word == key or plugins.is_short(word, key):
          return f'{name}.{key}'
  return ''


def _is_block(hint):
  return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _find_option(kind, block, upto, path):
  above, _, key = upto.rpartition('.')
  if key == 'name':
    return Option(str)
  if 'name' not in block:
    raise UserError(
      f'--config.{path}: config.{above} has no name yet: '
      f'--config.{above}.name says whose option {key!r} is'
    )
  cls = plugins.find(kind, block.name)
  inner, known = plugins.inner(cls), plugins.options(cls)
  if key in inner:
    return inner[key]
  own = plugins.OWN.get(kind)
  for owner, names in ((cls, known), (own, plugins.own(kind, {}))):
    if key in names:
      (field,) = (f for f in dataclasses.fields(owner) if f.name == key)
      return Option(ranges.hints(owner)[key], _default(field))
  others = [
    name
    for name in plugins.names(kind)
    if key in plugins.options(plugins.find(kind, name))
  ]
  hint = ''
  if others:
    hint = (
      f'; {" and ".join(map(repr, others))} would: '
      f'--config.{above}.name={others[0]}'
    )
    if (kind, key) == ('data.sources', 'pattern'):
      hint += ', or --data in place of both'
  known = plugins.nearest(key, [*known, *plugins.own(kind, {})])
  more = f' and {len(known) - MOST} more' if len(known) > MOST else ''
  raise UserError(
    f'--config.{path}: {block.name!r} has no option {key!r}{hint}. '
    f'It has: {", ".join(known[:MOST])}{more}.'
  )


def _default(field):
  if field.default is not dataclasses.MISSING:
    return field.default
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return None


def _within(old, keys, value, option, path):
  """Returns an option's value, or what it is with what stands in it changed.

  Args:
    old: its value, or None.
    keys: numbers of a list and names of a mapping, which lead to what changes.
    value: see `apply`.
    option: Option.
    path: the whole path.
  """
  if old is None:
    old = option.default
  if not keys:
    none = option.default is None and value in ('None', 'none')
    none = none and value not in get_args(option.hint)  # where it is a name
    return None if none else read(value, option.hint, path)
  key, *rest = keys
  if old is None and kind_of(option.hint) is dict:
    old = {}
  if isinstance(old, (tuple, list)):
    if not (key.isdecimal() and int(key) < len(old)):
      raise UserError(
        f'--config.{path}: no number {key!r} in a list of {len(old)}, '
        'counted from 0'
      )
    parts = list(old)
    part = parts[int(key)]
    parts[int(key)] = _within(part, rest, value, Option(type(part)), path)
    return type(old)(parts)
  if isinstance(old, (Mapping, ml_collections.ConfigDict)):
    part = old.get(key)
    part = _within(part, rest, value, Option(type(part)), path)
    return {**old, key: part}
  raise UserError(
    f'--config.{path}: no {key!r}, as what is above it is no block of keys'
  )


def kind_of(hint):
  """Returns the type that a text is read as, or None for any literal.

  >>> kind_of(Annotated[float, 'of a kind']), kind_of(tuple[int, ...])
  (<class 'float'>, <class 'tuple'>)
  """
  if get_origin(hint) is Annotated:
    return kind_of(get_args(hint)[0])
  if get_origin(hint) is Literal:
    kinds = {type(item) for item in get_args(hint)}
    return kinds.pop() if len(kinds) == 1 else None
  if get_origin(hint) in (Union, types.UnionType):
    kinds = {k for k in get_args(hint) if k is not type(None)}
    return kind_of(kinds.pop()) if len(kinds) == 1 else None
  kind = get_origin(hint) or hint
  return kind if kind in (*ranges.KINDS, list) else None


def read(value, hint, path):
  """Returns the value that a text stands for; what is no text stays.

  Args:
    value: as the command line has it.
    hint: type of the option, see `kind_of`.
    path: of the option.

  Raises:
    UserError: the text is none of the kind.
  """
  kind = kind_of(hint)
  if kind is float and type(value) is int:
    return float(value)
  if not isinstance(value, str) or kind is str:
    return value
  try:
    if kind is bool:
      return WORDS[value.lower()]
    if kind is int:
      return int(value, 16 if value[:2].lower() == '0x' else 10)
    if kind is float:
      return float(value)
  except (KeyError, ValueError):
    wanted = ranges.KINDS[kind][1]
    raise UserError(f'--config.{path}={value}: it must be {wanted}') from None
  try:
    found = ast.literal_eval(WORDS_OF_PYTHON.get(value, value))
  except (SyntaxError, ValueError, MemoryError, RecursionError):
    found = value
  if kind in (tuple, list):
    if isinstance(found, str):  # words, as a shell's user writes them
      found = [word.strip() for word in found.split(',') if word.strip()]
    return kind(found) if isinstance(found, (tuple, list)) else kind((found,))
  if kind is dict and not isinstance(found, dict):
    raise UserError(
      f"--config.{path}={value}: it must be a block of keys, {{'key': value}}"
    )
  return found
