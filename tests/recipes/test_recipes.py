"""Recipes are found by name from anywhere, and by path; their mistakes."""

import sys
from pathlib import Path

import pytest

from ctxlm import cli, recipes
from ctxlm.errors import UserError
from tests import tiny


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
  """The current folder, which holds nothing of ours."""
  folder = tmp_path / 'elsewhere'
  folder.mkdir()
  monkeypatch.chdir(folder)
  there = [p for p in sys.path if p and Path(p).resolve() != tiny.ROOT]
  monkeypatch.setattr(sys, 'path', there)
  for name in recipes.FOLDERS:
    monkeypatch.delitem(sys.modules, name, raising=False)
  return folder


def write(path, *lines):
  """Writes a recipe of the lines."""
  path.parent.mkdir(parents=True, exist_ok=True)
  body = '\n  '.join(lines)
  path.write_text(
    f'from ctxlm.configs import common\n\n\ndef get_config(*a):\n  {body}\n'
  )
  return str(path)


@pytest.mark.parametrize(
  'name',
  [
    'quickstart_mlm',
    'configs/quickstart_mlm.py',
    str(tiny.ROOT / 'configs/quickstart_mlm.py'),
    '~/configs/quickstart_mlm.py',
  ],
)
def test_ours_are_found_from_anywhere(name, monkeypatch):
  monkeypatch.setenv('HOME', str(tiny.ROOT))
  c = recipes.load(name)
  assert c.is_locked and c.tokenizer.vocab_size == 2048


def test_an_experiment_is_one_module_however_it_is_named(monkeypatch):
  one = recipes.open_module(recipes.find('mqar'))
  monkeypatch.chdir(tiny.ROOT)
  other = recipes.open_module(recipes.find('experiments/mqar.py'))
  assert one is other is sys.modules['ctxlm.experiments.mqar']
  assert recipes.load('mqar:smoke').tasks.recall.data.name == one.__name__


def test_a_file_wins_only_by_its_path(elsewhere):
  path = elsewhere / 'quickstart_mlm.py'
  write(path, 'c = common.base()', 'c.seed = len(a)', 'return c')
  assert recipes.load('quickstart_mlm').tokenizer.vocab_size == 2048
  for name in ('quickstart_mlm.py', './quickstart_mlm.py', str(path)):
    assert recipes.load(name).tokenizer.vocab_size == 8192
  assert recipes.load(f'{path}:x').seed == 1
  write(elsewhere / 'configs/bert_base.py', 'return common.base()')
  assert recipes.load('configs/bert_base.py').num_steps == 1000
  assert recipes.load('bert_base').num_steps != 1000


def test_folders_of_recipes(monkeypatch, tmp_path):
  for name in ('configs/new/one', 'configs/new/mqar', 'experiments/mqar'):
    write(tmp_path / 'home' / f'{name}.py', 'return common.base()')
  (tmp_path / 'home/experiments/shared.py').write_text('A = 1\n')
  monkeypatch.setattr(recipes, 'HOME', tmp_path / 'home')
  names = {'new/one', 'new/mqar', 'mqar'}
  assert recipes.ours().keys() == names
  one = tmp_path / 'home/configs/new/one.py'
  for name in ('one', 'new/one', 'configs/new/one.py'):
    assert recipes.find(name) == one
  assert recipes.find('mqar').parent.name == 'experiments'
  assert recipes.find('new/mqar').parent.name == 'new'


def test_plug_ins_of_a_file_are_found_by_its_folders_name(elsewhere, tmp_path):
  write(tmp_path / 'mylab/cloze.py', 'return common.base()')
  module = recipes.open_module(tmp_path / 'mylab/cloze.py')
  assert sys.modules['mylab.cloze'] is module
  # What is imported already stays what it is.
  import json.decoder as decoder

  write(tmp_path / 'json/decoder.py', 'return common.base()')
  own = recipes.open_module(tmp_path / 'json/decoder.py')
  assert own is not decoder is sys.modules['json.decoder']


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
  monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
  (tmp_path / 'mylab').mkdir()
  (tmp_path / 'mylab/beside_it.py').write_text('STEPS = 7\n')
  (tmp_path / 'mylab/colorsys.py').write_text('raise ValueError\n')
  path = write(
    tmp_path / 'mylab/mine.py',
    'import beside_it, colorsys  # and not what shadows it',
    'c = common.base()',
    'c.num_steps = beside_it.STEPS',
    'return c',
  )
  assert recipes.load(path).num_steps == 7


@pytest.mark.parametrize(
  'lines, wanted',
  [
    (
      ['c = common.base()', 'c.num_step = 3'],
      "line 6: no key 'num_step'. Did you mean 'num_steps'?",
    ),
    (['len(3)'], "line 5: TypeError: object of type 'int' has no len()"),
    (['return c.'], 'line 5: SyntaxError: invalid syntax'),
    (['import configs.common'], 'say ctxlm.configs'),
    (["open('/none')"], 'FileNotFoundError: [Errno 2] No such file'),
    (['return 3'], 'must return the config'),
  ],
)
def test_what_its_code_gets_wrong(elsewhere, lines, wanted):
  monkey = elsewhere / 'mine.py'
  with pytest.raises(UserError) as e:
    recipes.load(write(monkey, *lines))
  assert wanted in str(e.value) and 'mine.py' in str(e.value)
  assert '\n' not in str(e.value) and '\\' not in str(e.value)


@pytest.mark.parametrize(
  'text, wanted',
  [
    ('quikstart_mlm', "Did you mean 'quickstart_mlm'?"),
    ('mine', 'A file is named by its path, mine.py.'),
    ('none/mine.py', 'none/mine.py: no such recipe'),
    ('configs/none.py', 'configs/none.py: no such recipe'),
    ('README.md', 'no recipe or experiment named'),
    ('.', 'no recipe or experiment named'),
    ('', 'no recipe: name one, or a file of Python'),
    ('common', 'no recipe or experiment named'),
    ('configs/common.py', 'no recipe: it has no get_config()'),
    ('quickstart_mlm:3', "quickstart_mlm takes no argument, '3'"),
    ('needs.py', 'needs.py needs an argument'),
  ],
)
def test_no_such_recipe(elsewhere, text, wanted):
  write(elsewhere / 'mine.py', 'return common.base()')
  (elsewhere / 'needs.py').write_text('def get_config(a): pass\n')
  with pytest.raises(UserError) as e:
    recipes.load(text)
  assert wanted in str(e.value)


def test_the_verb_lists_them_and_shows_one(capsys, elsewhere):
  assert run() == 0
  rows = {
    line.split()[0]: line
    for line in capsys.readouterr().out.splitlines()
    if line[0] == ' '
  }
  ours = recipes.ours() | recipes.ours(recipes.TASK)
  assert rows.keys() == ours.keys() >= {'simcse', 'mqar', 'tasks/sst2'}
  assert 'common' not in rows and 'markov' not in rows
  assert rows['quickstart_mlm'].endswith("on Python's documentation.")
  write(elsewhere / 'mine.py', 'return 3')
  assert run('mine.py', 'mqar') == 0
  out = capsys.readouterr().out
  assert 'says nothing of itself' in out and 'ctxlm sweep' in out


def run(*argv):
  """Returns the exit status of `ctxlm recipes`."""
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', 'recipes', *argv])
  return e.value.code
