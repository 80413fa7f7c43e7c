"""Plug-ins: a config block with a name becomes a dataclass of the library.

`{name: 'mlm', rate: 0.15}` of kind `objectives` is
`ctxlm.objectives.mlm.Objective(rate=0.15)`. A dotted name (`mylab.cloze`)
reaches a module of the researcher's own, if a recipe says it, which is code
itself; where a folder that is opened says it, see `refuse_code`. An option may
be such a block too, see `field`; keys that the loop reads (OWN) reach no
plug-in.
"""

import dataclasses
import difflib
import importlib
import os
import pkgutil
import re
import reprlib

import ml_collections

from ctxlm import ranges
from ctxlm.errors import UserError

NAME = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*', re.ASCII)
ALLOW = 'CTXLM_ALLOW_CODE'
OURS = re.compile(r'ctxlm\.experiments\.\w+')  # dotted, and come with ctxlm
CLASSES = {
  'objectives': 'Objective',
  'objectives.regularizers': 'Regularizer',
  'models': 'Model',
  'models.adapters': 'Adapter',
  'context.retrievers': 'Retriever',
  'evaluators': 'Evaluator',
  'evaluators.metrics': 'Metric',
  'data.sources': 'Source',
  'data.views': 'View',
  'decoding.strategies': 'Strategy',
  'decoding.processors': 'Processor',
  'context': 'Context',
}


@dataclasses.dataclass(frozen=True)
class Cadence:
  """Keys of an evaluator's block that are the loop's own."""

  every_steps: ranges.Whole = 0


OWN = {'evaluators': Cadence}


def suggest(word, known):
  """Returns ' Did you mean X?', or the known words when nothing is near.

  >>> suggest('adam', ('adamw', 'sgd'))
  " Did you mean 'adamw'?"
  >>> suggest('lr', ('eps', 'learning_rate'))
  " Did you mean 'learning_rate'?"
  """
  known = [str(k) for k in known]
  # What flags begin with makes them no more alike.
  bare = {k.lstrip('-'): k for k in reversed(known)}
  near = difflib.get_close_matches(str(word).lstrip('-'), bare, n=1)
  near = [bare[k] for k in near]
  near += [k for k in known if is_short(word, k)]
  if near:
    return f' Did you mean {near[0]!r}?'
  return f' Known: {", ".join(sorted(map(str, known)))}.'


def is_short(word, name):
  """Whether a word is a name's initials, as lr is of learning_rate."""
  return word == ''.join(part[:1] for part in name.split('_'))


def nearest(word, known):
  """Returns the words, the most alike first.

  >>> nearest('hidden_sise', ['bias', 'hidden_size'])
  ['hidden_size', 'bias']
  """
  match = difflib.SequenceMatcher(b=word)

  def alike(other):
    match.set_seq1(other)
    return -match.ratio()

  return sorted(known, key=alike)


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
  if not isinstance(name, str) or not NAME.fullmatch(name):
    raise UserError(
      f'{kind}: {reprlib.repr(name)} is no name; one of a module, such as '
      "'mylab.cloze', or of ours"
    )
  path = name if '.' in name else f'ctxlm.{kind}.{name}'
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as e:
    if e.name is None or not (path == e.name or path.startswith(e.name + '.')):
      raise  # the module is there, but something that it imports is not
    raise UserError(
      f'no {kind} named {name!r}.{suggest(name, names(kind))}'
    ) from e
  cls = vars(module).get(CLASSES[kind])
  if cls is None:
    raise UserError(f'{path} has no class {CLASSES[kind]}, so it is no plug-in')
  return cls


def names_code(content):
  """Returns the dotted names of the blocks in a config, or in its JSON."""
  names, left = set(), [content]
  while left:
    one = left.pop()
    if isinstance(one, (dict, ml_collections.ConfigDict)):
      name = one.get('name')
      if isinstance(name, str) and '.' in name:
        names.add(name)
      left += one.values()
    elif isinstance(one, (list, tuple)):
      left += one
  return names


def refuse_code(content, path, allowed=()):
  """Raises UserError if a folder that is opened names code to run.

  Its maker may be anybody, and to find a dotted name is to run its module.

  Args:
    content: JSON of the folder's config.
    path: of the file that it stands in.
    allowed: modules that may be run, with what is below them, beside those of
      $CTXLM_ALLOW_CODE, which --allow_code sets.
  """
  allowed = {*allowed, *os.environ.get(ALLOW, '').split(',')}
  for name in sorted(names_code(content)):
    parts = name.split('.')
    above = {'.'.join(parts[:n]) for n in range(1, len(parts) + 1)}
    if not NAME.fullmatch(name) or len(name) > 200:
      raise UserError(f'{path}: {reprlib.repr(name)} is no name of a module')
    if not above & allowed and not OURS.fullmatch(name):
      raise UserError(
        f'{path} names code that is not ours, {name}: if you know the module '
        f'and trust it, allow it with --allow_code={name}'
      )


def names(kind):
  """Returns the names of our own plug-ins of a kind."""
  package = importlib.import_module(f'ctxlm.{kind}')
  modules = (m.name for m in pkgutil.iter_modules(package.__path__))
  return [
    name
    for name in modules
    if CLASSES[kind]
    in vars(importlib.import_module(f'{package.__name__}.{name}'))
  ]


def field(kind):
  """Returns a dataclass field whose value in a config is a block of `kind`.

  Or a list of blocks; `build` gives the plug-in, or a tuple of them:

      class Model(nn.Module):
        model: Any = plugins.field('models')  # {name: 'transformer', ...}
  """
  return dataclasses.field(default=None, metadata={'plugin': kind})


def inner(cls):
  """Returns {option: kind} of a plug-in's options that are blocks."""
  return {
    f.name: f.metadata['plugin']
    for f in dataclasses.fields(cls)
    if 'plugin' in f.metadata
  }


def own(kind, block):
  """Returns the keys of a block that are the loop's, {key: value}."""
  if kind not in OWN:
    return {}
  defaults = dataclasses.asdict(OWN[kind]())
  return {k: block.get(k, default) for k, default in defaults.items()}


def options(cls):
  """Returns the names of a plug-in's options.

  Raises:
    UserError: it has none to be set, being no dataclass.
  """
  if not dataclasses.is_dataclass(cls):
    name = f'{cls.__module__}.{cls.__qualname__}'
    raise UserError(f'{name} is no dataclass, so it has no options')
  hidden = {'parent', 'name', 'tokenizer'}
  return [
    f.name for f in dataclasses.fields(cls) if f.init and f.name not in hidden
  ]


def check(kind, block, where=None):
  """Raises UserError if `block` can't be built; builds nothing.

  Args:
    kind: see `find`.
    block: mapping with `name` and the plug-in's options.
    where: what is said before an option's name, such as 'config.model.'; None
      is the kind and the plug-in's name.
  """
  where = _said(kind, block) if where is None else where
  if not isinstance(block, (dict, ml_collections.ConfigDict)):
    raise UserError(f'{where.rstrip(".: ")} must be a block with a name')
  if 'name' not in block:
    raise UserError(f'{where.rstrip(".: ")} needs a name')
  cls = find(kind, block['name'])
  known = options(cls)
  blocks, given = inner(cls), _options(kind, block)
  for key, value in given.items():
    if key not in known:
      raise UserError(
        f'{where}{key}: {block["name"]!r} has no such option.'
        + suggest(key, [*known, *own(kind, {})])
      )
    if key in blocks and value:
      for each in value if isinstance(value, tuple) else (value,):
        check(blocks[key], each, f'{where}{key}.')
  ranges.check(cls, given, where)
  if kind in OWN:
    ranges.check(OWN[kind], own(kind, block), where)


def build(kind, block, **extra):
  """Builds the plug-in that a config block describes.

  Args:
    kind: see `find`.
    block: mapping with `name` and the plug-in's options.
    **extra: arguments that the loop gives, not the config; blocks inside of
      this one are given them too. Those that a class doesn't take are left
      out.

  Raises:
    UserError: an unknown name or option, or a value that the class refuses.

  >>> source = build('data.sources', {'name': 'files', 'pattern': '*.txt'})
  >>> source.pattern
  '*.txt'
  """
  check(kind, block)
  cls = find(kind, block['name'])
  blocks, given = inner(cls), _options(kind, block)
  for key, value in given.items():
    if key in blocks and value:
      given[key] = (
        tuple(build(blocks[key], each, **extra) for each in value)
        if isinstance(value, tuple)
        else build(blocks[key], value, **extra)
      )
  fields = {f.name for f in dataclasses.fields(cls)}
  extra = {k: v for k, v in extra.items() if k in fields and k not in given}
  for f in dataclasses.fields(cls):
    needed = f.init and f.default is f.default_factory is dataclasses.MISSING
    if needed and f.name not in given and f.name not in extra:
      raise UserError(f'{_said(kind, block)}it needs {f.name!r}')
  try:
    return cls(**given, **extra)
  except (TypeError, ValueError) as e:
    raise UserError(f'{_said(kind, block)}{e}') from e


def _said(kind, block):
  name = block.get('name') if hasattr(block, 'get') else None
  return f'{kind} {name!r}: ' if name else f'{kind}: '


def _options(kind, block):
  # What is the plug-in's own in a block, in plain values.
  taken = {'name', *own(kind, block)}
  return {k: _plain(v) for k, v in block.items() if k not in taken}


def _plain(value):
  if isinstance(value, ml_collections.ConfigDict):
    return value.to_dict()
  return tuple(value) if isinstance(value, list) else value
