"""What is installed from a wheel works from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from ctxlm import recipes
from tests import tiny

SMALL = (
  *('num_steps=1', 'max_length=24', 'model.max_length=24', 'batch_size=8'),
  *('model.num_layers=1', 'tokenizer.vocab_size=300', 'evaluators={}'),
  'optimizer.warmup_steps=0',
)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """The folder of an installed wheel."""
  folder = tmp_path_factory.mktemp('wheel')
  source = folder / 'source'  # a build writes beside what it builds
  source.mkdir()
  for name in ('ctxlm', 'configs', 'experiments', 'README.md'):
    (source / name).symlink_to(tiny.ROOT / name)
  shutil.copy(tiny.ROOT / 'pyproject.toml', source)
  argv = f'{sys.executable} -m pip wheel --quiet --no-build-isolation --no-deps'
  subprocess.run([*argv.split(), '-w', folder, source], check=True)
  (wheel,) = folder.glob('ctxlm-*.whl')
  with zipfile.ZipFile(wheel) as f:
    f.extractall(folder / 'site')
  return folder / 'site'


def ctxlm(installed, cwd, *argv):
  """Returns (status, standard output, standard error) of a command."""
  done = subprocess.run(
    [sys.executable, '-P', '-m', 'ctxlm', *argv],
    cwd=cwd,
    env=tiny.environment() | {'PYTHONPATH': str(installed)},
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_wheel_lists_and_trains_elsewhere(installed, text, tmp_path):
  ours = recipes.ours() | recipes.ours(recipes.TASK)
  wanted = {str(p.resolve().relative_to(tiny.ROOT)) for p in ours.values()}
  root = installed / 'ctxlm'
  there = {str(p.relative_to(root)) for p in root.rglob('*.py')}
  assert wanted <= there and 'configs/common.py' in there
  status, out, _ = ctxlm(installed, tmp_path, 'recipes')
  listed = {line.split()[0] for line in out.splitlines() if line[0] == ' '}
  assert status == 0 and listed == set(ours)
  os.makedirs(tmp_path / 'books')
  shutil.copy(text, tmp_path / 'books' / 'one.txt')
  status, _, err = ctxlm(
    installed,
    tmp_path,
    *('train', '--config=quickstart_causal', '--workdir=run'),
    *('--data', 'books', *(f'--config.{flag}' for flag in SMALL)),
  )
  assert status == 0, err
  assert tiny.metrics(tmp_path / 'run')[-1]['step'] == 1
  status, out, err = ctxlm(
    installed,
    tmp_path,
    *('sweep', 'mqar', '--workdir=sweep', '--scale=smoke', '--launcher=print'),
  )
  assert status == 0 and '--config=mqar:smoke' in out, err
