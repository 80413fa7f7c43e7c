"""Recipes and experiments: found by name from anywhere, or by path.

A name is one of ours, which `configs/` and `experiments/` hold; the package
carries both, as `ctxlm.configs` and `ctxlm.experiments`. A file of the user's
own is named by its path, also when one of ours has the same name.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path

import ml_collections

from ctxlm import plugins
from ctxlm.errors import UserError

HOME = Path(__file__).parent.parent
FOLDERS = ('configs', 'experiments')
# What a file defines, by which it is known: a run's config, or a task's block.
RECIPE, TASK = 'get_config', 'get_task'
WORDS = {RECIPE: 'recipe', TASK: 'task'}
FLAGS = {RECIPE: '--config', TASK: '--few_shot'}


def load(text):
  """Returns the config of `--config NAME[:ARGUMENT]`, locked.

  Args:
    text: the name of a recipe or an experiment of ours, or a path, such as
      configs/finetune.py; what is behind a colon is given to its get_config.

  Raises:
    UserError: no such recipe; or what its code raises, with the line.

  >>> load('quickstart_mlm').tasks.text.objective.name
  'mlm'
  """
  name, function, path, config = _called(text, RECIPE)
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(f'{name}: {function}() must return the config')
  return config.lock()


def load_task(text):
  """Returns (its name, the block of its evaluator) of `--few_shot`.

  Args:
    text: as of `load`, of a file of configs/tasks/ or one with a get_task().

  Raises:
    UserError: as `load`.

  >>> name, block = load_task('sst2')
  >>> name, block['name']
  ('sst2', 'few_shot')
  """
  name, function, path, block = _called(text, TASK)
  if not isinstance(block, dict) or 'name' not in block:
    raise UserError(f'{name}: {function}() must return an evaluator, {{name}}')
  return path.stem, block


def _called(text, function):
  """Returns (name, function, path, what it gave) of NAME[:ARGUMENT]."""
  name, colon, argument = text.partition(':')
  path = find(name, function)
  module = open_module(path)
  own = vars(module).get(function)
  if not callable(own):
    raise UserError(f'{name} is no {WORDS[function]}: it has no {function}()')
  arguments = [argument] if colon else []
  try:
    inspect.signature(own).bind(*arguments)
  except TypeError as e:
    cure = f'takes no argument, {argument!r}' if colon else 'needs an argument'
    raise UserError(f'{name} {cure}: {FLAGS[function]} NAME[:ARGUMENT]') from e
  return name, function, path, run(own, path, *arguments)


def ours(function=RECIPE):
  """Returns {name: path} of the recipes and experiments that ctxlm has.

  One in a folder has its name, 'FOLDER/NAME'.

  Args:
    function: RECIPE, or TASK for tasks of few_shot.
  """
  defines = f'\ndef {function}('.encode()
  return {
    path.relative_to(HOME / folder).with_suffix('').as_posix(): path
    for folder in FOLDERS
    for path in sorted((HOME / folder).rglob('*.py'))
    if defines in path.read_bytes()
  }


def docstring(path):
  """Returns a file's docstring, or its syntax error; it isn't run."""
  try:
    text = ast.get_docstring(ast.parse(path.read_bytes()))
  except SyntaxError as e:
    text = _said(e)
  return text or 'says nothing of itself'


def find(name, function=RECIPE):
  """Returns the path of a recipe or an experiment.

  Args:
    name: of one of ours, whose folder may be left out, or a path that ends in
      .py. A path such as configs/NAME.py that leads nowhere from the current
      folder is that of ours.
    function: see `ours`.

  Raises:
    UserError: there is none.
  """
  path = Path(name).expanduser()
  if path.suffix == '.py':
    own = HOME / path
    if path.is_file():
      return path
    if path.parts[0] in FOLDERS and own.is_file():
      return own
    known = {own.split('/')[-1]: own for own in ours(function)}
    hint = known.get(path.stem, '')
    hint = hint and f'; one of ours is named without its ending: {hint}'
    raise UserError(
      f'{name}: no such recipe or experiment, a file of Python{hint}'
    )
  if path.is_dir() and len(path.parts) > 1 or name == '' or path.is_file():
    raise UserError(f'{name!r} is no recipe: name one, or a file of Python')
  known = ours(function)
  if name in known:
    return known[name]
  found = [own for own in known if own.split('/')[-1] == name]
  if len(found) == 1:
    return known[found[0]]
  near = known if '/' in name else {own.split('/')[-1] for own in known}
  hint = plugins.suggest(name, found or near)
  if Path(f'{name}.py').is_file():
    hint = f' A file is named by its path, {name}.py.'
  what = {RECIPE: 'recipe or experiment', TASK: 'task'}[function]
  raise UserError(f'no {what} named {name!r}.{hint}')


def open_module(path):
  """Returns the module of a file of Python.

  Below the current folder it has the name that an import has there, such as
  'mylab.cloze', by which its plug-ins are named; elsewhere that of its folder
  and its own. It may import what lies beside it.

  Raises:
    UserError: what its code raises, with the line.
  """
  path = Path(path)
  whole = path.resolve()
  for folder in FOLDERS:
    if whole.parent == (HOME / folder).resolve():
      return run(importlib.import_module, path, f'ctxlm.{folder}.{whole.stem}')
  parts = whole.parts[-2:]
  if whole.is_relative_to(Path.cwd()):
    below = whole.relative_to(Path.cwd()).parts
    parts = below if len(below) > 1 else parts
  name = '.'.join(parts).removesuffix('.py')
  while name in sys.modules:
    if _file(sys.modules[name]) == whole:
      return sys.modules[name]
    name = f'_{name}'  # what is there already is somebody else's
  if str(whole.parent) not in sys.path:
    sys.path.append(str(whole.parent))  # behind all that is installed
  spec = importlib.util.spec_from_file_location(name, whole)
  module = sys.modules[name] = importlib.util.module_from_spec(spec)
  try:
    run(spec.loader.exec_module, path, module)
  except BaseException:
    del sys.modules[name]
    raise
  return module


def _file(module):
  file = vars(module).get('__file__')
  return file and Path(file).resolve()


def run(function, path, *args):
  """Returns function(*args), which runs a file's code.

  Raises:
    UserError: what it raises, with the line of the file where that is known;
      also where it would end the process.
  """
  try:
    return function(*args)
  except UserError:
    raise
  except (Exception, SystemExit) as e:
    raise UserError(f'{_place(e, path)}: {_said(e)}') from e


def _place(error, path):
  """Returns 'PATH, line N', the last one of the file that an error is from."""
  whole, lines = path.resolve(), []
  if isinstance(error, SyntaxError):
    lines.append((error.filename, error.lineno))
  for frame in traceback.extract_tb(error.__traceback__):
    lines.append((frame.filename, frame.lineno))
  lines = [n for name, n in lines if name and Path(name).resolve() == whole]
  return f'{path}, line {lines[-1]}' if lines else str(path)


def _said(error):
  """Returns an error's point as one line."""
  inner = error
  while inner.args and isinstance(inner.args[0], Exception):
    inner = inner.args[0]
  text = str(inner.args[0] if isinstance(inner, KeyError) else inner)
  # What ml_collections says of a key, before it lists all of them.
  if key := re.match(r'Key "([^"]*)" does not exist', text):
    near = re.search(r'Did you mean "([^"]+)"', text)
    return f'no key {key[1]!r}.' + (
      f' Did you mean {near[1]!r}?' if near else ''
    )
  if isinstance(error, ModuleNotFoundError) and error.name in FOLDERS:
    return f'{error}: say ctxlm.{error.name}, which can be found from anywhere'
  return f'{type(error).__name__}: {" ".join(text.split())}'
