"""READMEs and docstrings name what there is: recipes, commands, files."""

import argparse
import ast
import functools
import importlib
import pathlib
import re
import shlex
import sys
import types

import pytest

from ctxlm import cli, config, recipes
from ctxlm.configs import common
from ctxlm.inference import judging
from ctxlm.lab import recipe
from ctxlm.recipes import overrides
from ctxlm.training import initial
from tests import test_imports

ROOT = pathlib.Path(__file__).parent.parent
READMES = ('README.md', 'configs/README.md', 'experiments/README.md')
FOLDERS = ('ctxlm', 'configs', 'experiments')


def read(path):
  return (ROOT / path).read_text(encoding='utf-8')


def table(path):
  """Returns the names of Python files that begin a README's table rows."""
  return re.findall(r'^\| `([\w/]+\.py)` \|', read(path), re.MULTILINE)


def docstrings():
  """Yields (path, docstring) of every module, class and function."""
  kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
  for folder in FOLDERS:
    for path in sorted((ROOT / folder).rglob('*.py')):
      for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
          yield str(path.relative_to(ROOT)), text


@functools.cache
def texts():
  return [(path, read(path)) for path in READMES] + list(docstrings())


def commands():
  """Yields (path, argv, whole) of commands in texts.

  One that has a line of its own is whole; one in `` may be a part.
  """
  for path, text in texts():
    text = text.replace('\\\n', ' ')
    lines = [part for line in text.splitlines() for part in line.split('&&')]
    lines = [(x, True) for x in lines if '--' in x or '.py' in x]
    parts = re.findall(r'`((?:ctxlm|python) [^`]+)`', ' '.join(text.split()))
    for line, whole in lines + [(x, False) for x in parts]:
      if re.match(r'\s*(ctxlm [a-z]+|python -m (ctxlm|experiments))\b', line):
        yield path, shlex.split(line.split(' > ')[0], comments=True), whole


@functools.cache
def parser_of(verb):
  """Returns the flags.Parser of a verb."""
  return cli.parser_of(verb, importlib.import_module(f'ctxlm.commands.{verb}'))


def check_verb(argv):
  """A part of a command names what there is."""
  verb, *words = argv
  if verb != 'VERB':
    assert verb in (*cli.VERBS, 'help'), verb
  for word in words:
    name = word.split('=')[0]
    if word.startswith('--') and verb in cli.VERBS:
      assert name in parser_of(verb).names or name[:9] == '--config.', word


def check_recipe(F):
  """A command's overrides are of its recipe; F is what was read of it."""
  if 'few_shot' in F and F.few_shot is not None:
    made = judging.config_of(F.few_shot, F.config, F.data)
    config.check(overrides.apply(made, F.overrides))
    return
  name = F.config if 'config' in F else F.paths[0]
  if name is None:  # a run folder's own
    return
  if name.startswith('experiments/'):
    name = f'{name}:small'
  config.check(overrides.apply(recipes.load(name), F.overrides))
  if 'over' in F and F.over:
    recipe.open_recipe(name, F.over, dict(F.overrides), F.metric)


class Parsed(Exception):
  """A benchmark has read its flags."""


def check_module(name, words):
  """A benchmark reads its flags, and does no more."""
  read = argparse.ArgumentParser.parse_args

  def only_read(parser, arguments=None):
    read(parser, arguments)
    raise Parsed

  with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed):
    patch.setattr(argparse.ArgumentParser, 'parse_args', only_read)
    patch.setattr(sys, 'argv', sys.argv)
    name = name.removeprefix('ctxlm.')
    importlib.import_module(f'ctxlm.{name}').main(words)


@pytest.fixture
def bert(monkeypatch):
  """Whatever folder a recipe starts from is BERT's."""
  model = types.SimpleNamespace(
    block=common.bert_shape(16, 1, 2, max_length=512),
    shapes={'heads': {'mlm': {}, 'next_sentence': {}}},
    sentence=None,
    adapt=None,
    tokenizer='BERT',
    tokenizer_path=ROOT,
  )
  monkeypatch.setattr(initial, 'open_folder', lambda _: model)


def test_commands_run_as_they_stand(bert):
  count = 0
  for path, argv, whole in commands():
    count += 1
    try:
      if argv[:2] == ['python', '-m'] and argv[2] != 'ctxlm':
        check_module(argv[2], argv[3:])
        continue
      verb, *words = argv[argv.index('ctxlm') + 1 :]
      if not whole:
        check_verb([verb, *words])
        continue
      F = parser_of(verb).read(words)
      if 'overrides' in F:
        check_recipe(F)
    except (Exception, SystemExit) as e:
      raise AssertionError(f'{path}: {shlex.join(argv)}') from e
  assert count > 50


def test_commands_can_be_copied_from_where_they_stand():
  for folder in FOLDERS:
    for path in (ROOT / folder).rglob('*.py'):
      for line in path.read_text(encoding='utf-8').splitlines():
        if line.lstrip().startswith(('ctxlm ', '--')):
          assert not line.endswith('\\\\'), f'{path}: {line}'


def test_files_that_are_named_exist():
  pattern = r'\b(?:ctxlm|configs|experiments|tests)/[\w/]+\.(?:py|md)\b'
  missing = {
    (path, name)
    for path, text in texts()
    for name in re.findall(pattern, text)
    if not (ROOT / name).exists() and 'NAME' not in name
  }
  assert not missing


def resolve(name):
  """Imports what a dotted name stands for: a module, or what it has."""
  parts = name.split('.')
  for i in range(len(parts), 0, -1):
    try:
      thing = importlib.import_module('.'.join(parts[:i]))
    except ModuleNotFoundError:
      continue
    for part in parts[i:]:
      fields = getattr(thing, '__dataclass_fields__', {})
      thing = fields[part] if part in fields else getattr(thing, part)
    return thing
  raise ImportError(name)


def test_names_of_our_modules_exist():
  missing = set()
  for path, text in texts():
    for name in re.findall(r'\bctxlm(?:\.\w+)+', text):
      if not any(part.isupper() for part in name.split('.')):
        try:
          resolve(name)
        except (ImportError, AttributeError):
          missing.add((path, name))
  assert not missing


def test_every_recipe_has_a_row_and_every_row_a_recipe():
  files = {
    str(p.relative_to(ROOT)) for p in (ROOT / 'configs').rglob('*.py')
  } - {'configs/common.py'}
  rows = table('configs/README.md')
  assert sorted(rows) == sorted(files)
  for line in read('configs/README.md').splitlines():
    if match := re.match(r'\| `(configs/\w+\.py)`', line):
      assert f'`ctxlm train --config {match[1]}' in line, line


def test_every_experiment_has_a_row_and_every_row_an_experiment():
  folder = ROOT / 'experiments'
  files = {
    str(p.relative_to(ROOT))
    for p in folder.rglob('*.py')
    if re.search(r'^def (sweep|main)\(', p.read_text(), re.MULTILINE)
  }
  assert sorted(table('experiments/README.md')) == sorted(files)
  # The rows of an experiment are its claims.
  rows = re.split(r'^\| `', read('experiments/README.md'), flags=re.MULTILINE)
  for row in rows[1:]:
    path = row.split('`')[0]
    if path in files and 'benchmarks' not in path:
      name = path.removesuffix('.py').replace('/', '.')
      claims = importlib.import_module(name).criteria()
      lines = row.split('\n\n')[0].strip().splitlines()
      assert len(lines) == len(claims), path


def test_what_they_share_is_named():
  for path in (ROOT / 'experiments').glob('*.py'):
    assert f'`experiments/{path.name}`' in read('experiments/README.md')


def test_the_first_blocks_are_those_that_ci_runs():
  installs, tests, looks = re.findall(
    r'^```sh\n(.*?)^```', read('README.md'), re.MULTILINE | re.DOTALL
  )
  assert 'pip install -e .' in installs and 'ctxlm train' in installs
  assert '.[test]' in tests and 'pytest' in tests
  assert looks.startswith('ctxlm score --model runs/quickstart ')


def test_the_readme_is_short_and_its_map_whole():
  text = read('README.md')
  assert len(text.splitlines()) <= 150
  named = re.findall(r'^      (\w+)/', text, re.MULTILINE)
  there = {p.parent.name for p in (ROOT / 'ctxlm').glob('*/__init__.py')}
  assert set(named) == there | {'benchmarks'}
  # Imports run downwards in it.
  order = [test_imports.layer(name) for name in named if name in there]
  assert order == sorted(order)


@pytest.mark.parametrize(
  'word',
  ['context', 'placement', 'slot', 'window', 'view', 'rows', 'step', 'record']
  + ['example', 'features', 'batch'],
)
def test_a_word_has_one_meaning(word):
  assert read('README.md').count(f'\n- **{word}**: ') == 1
