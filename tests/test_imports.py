"""Imports run downwards only; the root holds the ground and nothing else."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent / 'ctxlm'
# From the top down: a module may import what stands in a lower line, or in
# its own.
LAYERS = [
  # The command line, and one verb a file: flags in, one call, words out.
  {'__main__', 'cli', 'commands'},
  {'lab'},  # what experiments run on: points, launchers, verdicts, reports
  {'inference'},  # a checkpoint opened, to write, to fill, to score
  {'training'},  # the one assembly and the one loop
  {'evaluators'},  # one file a judgement
  {'decoding'},  # strategies, processors and grammars of text
  {'context'},  # what widens a model's context
  {'families'},  # one table a family of reference checkpoints
  {'objectives'},  # what is learned
  {'models'},  # attention, positions, layers, then one file a model
  {'data'},  # sources, views, tokenizers, and the loader
  {'parallel'},  # where arrays live
  {'recipes'},  # configs by name, and what a command line changes in them
  {'config'},  # the ground: every key and its check,
  {'plugins'},  # names that become classes,
  {'ranges'},  # what their options may be,
  {'files', 'trees'},  # files written whole, leaves by path,
  {'errors'},  # and the one exception of a user's mistake
]
GROUND = {'__init__', '__main__', 'cli', 'config', 'plugins', 'errors'}
GROUND |= {'files', 'ranges', 'trees'}


def layer(name):
  return next((i for i, names in enumerate(LAYERS) if name in names), None)


def imported(path):
  """Yields the parts of ctxlm that a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names = [a.name for a in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{a.name}' for a in node.names]
    else:
      continue
    for name in names:
      if name.startswith('ctxlm.'):
        yield name.split('.')[1]


@pytest.mark.parametrize(
  'path', sorted(ROOT.rglob('*.py')), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_run_downwards(path):
  own = path.relative_to(ROOT).with_suffix('').parts[0]
  if own == '__init__':
    return
  assert layer(own) is not None, f'give {own} a place in LAYERS'
  for name in imported(path):
    assert layer(name) is not None, name
    assert layer(own) <= layer(name), f'{own} imports {name}'


def test_the_root_holds_the_ground_alone():
  assert {p.stem for p in ROOT.glob('*.py')} == GROUND
  files = [p for p in ROOT.glob('*/*.py') if not p.parent.is_symlink()]
  folders = {p.parent.name for p in files}
  assert folders | GROUND - {'__init__'} == set().union(*LAYERS)


@pytest.mark.parametrize(
  'path', sorted(ROOT.rglob('*.py')), ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_library_knows_no_recipe_or_experiment(path):
  tree = ast.parse(path.read_text())
  for node in ast.walk(tree):
    names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom):
      names = [node.module]
    for name in names:
      assert name.split('.')[0] not in ('configs', 'experiments', 'tests')


@pytest.mark.parametrize('folder', ['configs', 'experiments'])
def test_recipes_import_each_other_from_anywhere(folder):
  for path in (ROOT.parent / folder).rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom):
        # As ctxlm.configs, which is there where the checkout's root is not.
        assert node.module.split('.')[0] not in ('configs', 'experiments'), path


def modules(path):
  """Yields the names of all modules that a file imports, ctxlm's in full."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        whole = f'{node.module}.{alias.name}'
        yield whole if node.module.startswith('ctxlm') else node.module
    elif isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)


@pytest.mark.parametrize('name', ['models.attention', 'models.positions'])
def test_pure_functions_import_jax_only(name):
  """Nor does what they import of ours."""
  todo, others = [name], set()
  for own in todo:
    for found in modules(ROOT / f'{own.replace(".", "/")}.py'):
      if found.startswith('ctxlm.'):
        todo.append(found.removeprefix('ctxlm.'))
      else:
        others.add(found.split('.')[0])
  assert others <= {'jax', 'numpy', 'functools', 'math'}
