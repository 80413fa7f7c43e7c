"""Imports run downwards only."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent / 'ctxlm'
# From the top down: a module may import what stands in a lower line, or in
# its own.
LAYERS = [
  {'__main__', 'commands'},
  {'lab'},
  {'inference'},
  {'cli'},
  {'training'},
  {'evaluators'},
  {'decoding'},
  {'families'},
  {'objectives'},
  {'models'},
  {'data'},
  {'parallel'},
  {'config'},
  {'plugins'},
  {'files', 'trees'},
  {'errors'},
]


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
    # The verbs share cli's flags.
    assert layer(own) <= layer(name), f'{own} imports {name}'


@pytest.mark.parametrize('name', ['attention', 'positions'])
def test_pure_functions_import_jax_only(name):
  tree = ast.parse((ROOT / 'models' / f'{name}.py').read_text())
  found = {
    (n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split('.')[
      0
    ]
    for n in ast.walk(tree)
    if isinstance(n, (ast.Import, ast.ImportFrom))
  }
  assert found <= {'jax', 'numpy', 'functools'}
