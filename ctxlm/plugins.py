"""Plug-ins: a config block with a name becomes a dataclass of the library.

`{name: 'mlm', rate: 0.15}` of kind `objectives` is
`ctxlm.objectives.mlm.Objective(rate=0.15)`. A dotted name (`mylab.cloze`)
reaches a module of the researcher's own.
"""

import dataclasses
import difflib
import importlib

from ctxlm.errors import UserError

CLASSES = {
  'objectives': 'Objective',
  'models': 'Model',
  'evaluators': 'Evaluator',
  'data.sources': 'Source',
  'data.views': 'View',
  'decoding.strategies': 'Strategy',
  'decoding.processors': 'Processor',
}


def suggest(word, known):
  """Returns ' Did you mean X?', or the known words when nothing is near.

  >>> suggest('adam', ('adamw', 'sgd'))
  " Did you mean 'adamw'?"
  """
  near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
  if near:
    return f' Did you mean {near[0]!r}?'
  return f' Known: {", ".join(sorted(map(str, known)))}.'


def find(kind, name):
  """Returns the class that a plug-in's name stands for.

  Args:
    kind: a key of CLASSES.
    name: a module of `ctxlm/KIND/`, or a dotted module path.

  Raises:
    UserError: if there is no such module, or it lacks the class.

  >>> find('objectives', 'causal').__module__
  'ctxlm.objectives.causal'
  """
  path = name if '.' in name else f'ctxlm.{kind}.{name}'
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as e:
    if e.name is None or not (path == e.name or path.startswith(e.name + '.')):
      raise  # the module is there, but something that it imports is not
    package = importlib.import_module(f'ctxlm.{kind}')
    known = _modules(package, CLASSES[kind])
    raise UserError(f'no {kind} named {name!r}.{suggest(name, known)}') from e
  if not hasattr(module, CLASSES[kind]):
    raise UserError(f'{path} has no class {CLASSES[kind]}, so it is no plug-in')
  return getattr(module, CLASSES[kind])


def _modules(package, cls):
  import pkgutil

  modules = (m.name for m in pkgutil.iter_modules(package.__path__))
  return [
    name
    for name in modules
    if hasattr(importlib.import_module(f'{package.__name__}.{name}'), cls)
  ]


def options(cls):
  """Returns the names of a plug-in's options."""
  hidden = {'parent', 'name', 'tokenizer'}
  return [
    f.name for f in dataclasses.fields(cls) if f.init and f.name not in hidden
  ]


def check(kind, block, where):
  """Raises UserError if `block` (a mapping) can't be built; builds nothing."""
  if 'name' not in block:
    raise UserError(f'config.{where} needs a name')
  cls = find(kind, block['name'])
  for key in block:
    if key != 'name' and key not in options(cls):
      raise UserError(
        f'config.{where}.{key}: {block["name"]!r} has no such option.'
        + suggest(key, options(cls))
      )


def build(kind, block, **extra):
  """Builds the plug-in that a config block describes.

  Args:
    kind: see `find`.
    block: mapping with `name` and the plug-in's options.
    **extra: arguments that the loop gives, not the config. Those that the
      class doesn't take are left out.

  Raises:
    UserError: an unknown name or option, or a value that the class refuses.

  >>> source = build('data.sources', {'name': 'files', 'pattern': '*.txt'})
  >>> source.pattern
  '*.txt'
  """
  check(kind, block, kind)
  cls = find(kind, block['name'])
  fields = {f.name for f in dataclasses.fields(cls)}
  given = {k: v for k, v in block.items() if k != 'name'}
  given = {k: _plain(v) for k, v in given.items()}
  extra = {k: v for k, v in extra.items() if k in fields and k not in given}
  try:
    return cls(**given, **extra)
  except (TypeError, ValueError) as e:
    raise UserError(f'{kind} {block["name"]!r}: {e}') from e


def _plain(value):
  if hasattr(value, 'to_dict'):
    return value.to_dict()
  return tuple(value) if isinstance(value, list) else value
