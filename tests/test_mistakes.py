"""A user's mistake is one line, a non-zero exit, and nothing is written."""

import os

import pytest

from tests import tiny


def contents(folder):
  """Returns {path: bytes} of everything below a folder, but who locked it."""
  return {
    str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
    for p in folder.rglob('*')
    if p.name != '.lock'
  }


def mistake(argv, folder, devices=1):
  """Returns the one line that a command answers with."""
  before = contents(folder)
  errors = os.environ['TINY_TEXT'] + '.errors'
  process = tiny.fork(argv, devices, errors)
  process.join(60)
  assert process.exitcode == 2
  with open(errors) as f:
    err = f.read()
  check_line(err)
  assert contents(folder) == before
  return err


def check_line(err):
  assert err.startswith('ctxlm train: ') and err.endswith('\n')
  assert err.count('\n') == 1 and len(err) < 400, err
  assert '\\' not in err, err  # no text within a text's repr


@pytest.fixture(scope='module')
def run(text, tmp_path_factory):
  """A finished run."""
  folder = tmp_path_factory.mktemp('run') / 'run'
  tiny.train(folder, 'config.num_steps=2', 'config.evaluators={}')
  return folder


@pytest.mark.parametrize(
  'flags, wanted',
  [
    # A key that no config has, at the top and in a block.
    (
      ['config.batchsize=8'],
      "ctxlm train: --config.batchsize: the recipe has no key 'batchsize'. "
      "Did you mean 'batch_size'?\n",
    ),
    (
      ['config.optimizer.learning_rat=1'],
      'ctxlm train: --config.optimizer.learning_rat: the recipe has no key '
      "'learning_rat'. Did you mean 'learning_rate'?\n",
    ),
    (['config.optimizer.xyzzy=1'], "the recipe has no key 'xyzzy'.\n"),
    (['config.seed.value=1'], "the recipe has no key 'seed.value'.\n"),
    # Options of plug-ins, and names of plug-ins.
    (['config.model.hidden_sise=8'], "Did you mean 'hidden_size'?\n"),
    (['config.model.name=transfromer'], "'transformer'"),
    (['config.tasks.causal.objective.name=clozed'], "named 'clozed'"),
    (['config.tasks.causal.data.name=nofile'], "named 'nofile'"),
    # Wrong types and values.
    (['config.num_steps=many'], 'num_steps=many: it must be a whole number\n'),
    (['config.optimizer.learning_rate=fast'], '=fast: it must be a number\n'),
    (['config.optimizer.name=adam'], "'adamw'"),
    (['config.model.num_heads=5'], 'num_heads=5'),
    # Not divisible: by the devices, by the micro-batches.
    (['config.batch_size=7', 'config.accumulation=2'], 'accumulation=2'),
    (['config.parallel.strategy=mesh', 'config.parallel.fsdp=3'], 'multiply'),
    # No such text.
    (['config.tasks.causal.data.pattern=/none/*.txt'], 'no file matches'),
    # More tokens than embeddings.
    (['config.model.vocab_size=200'], 'more than config.model.vocab_size=200'),
    (['config.init_from=/none'], '/none'),
    (['config.max_length=64'], 'more than config.model.max_length=24'),
    (['nonsense=1'], 'nonsense'),
  ],
)
def test_flags(text, tmp_path, flags, wanted):
  line = mistake(tiny.command(tmp_path / 'run', *flags), tmp_path)
  assert wanted in line


def test_batch_not_divisible_by_devices(text, tmp_path):
  argv = tiny.command(tmp_path / 'run', 'config.batch_size=9')
  line = mistake(argv, tmp_path, devices=2)
  assert 'batch_size=9 is not divisible by 2 devices' in line


def test_command_line(text, tmp_path):
  # The tests above fork a process that has imported everything; this doesn't.
  argv = tiny.command(tmp_path / 'run', 'config.num_stepz=3')
  status, err = tiny.finish(tiny.start(argv))
  assert status == 2 and "mean 'num_steps'?" in err
  check_line(err)
  assert not list(tmp_path.iterdir())
  status, err = tiny.finish(tiny.start([*argv, '--debug']))
  assert status and 'Traceback' in err


@pytest.mark.parametrize(
  'content, wanted',
  [
    (b'', 'is empty'),
    (b'\n \n\n', 'has no text'),
    (b'good text\n\nbad \xff\xfe text\n', 'UTF-8'),
  ],
)
def test_text_files(text, tmp_path, content, wanted):
  path = tmp_path / 'bad.txt'
  path.write_bytes(content)
  flags = f'config.tasks.causal.data.pattern={path}'
  line = mistake(tiny.command(tmp_path / 'run', flags), tmp_path)
  assert wanted in line and 'bad.txt' in line


@pytest.mark.parametrize(
  'flags, wanted',
  [
    (['config.model.hidden_size=64'], 'config.model.hidden_size=32, not 64'),
    (['config.seed=1'], 'config.seed=0, not 1'),
    (['config.batch_size=16'], 'use another --workdir'),
  ],
)
def test_run_folder_of_another_config(run, flags, wanted):
  flags = ['config.num_steps=2', 'config.evaluators={}', *flags]
  assert wanted in mistake(tiny.command(run, *flags), run)


def test_run_folder_of_other_text(text, tmp_path):
  # The config and the path are the same, but the text has changed since.
  other = tmp_path / 'text.txt'
  other.write_text(text.read_text())
  flags = [f'config.tasks.causal.data.pattern={other}', 'config.num_steps=1']
  tiny.train(tmp_path / 'run', *flags)
  tiny.write_text(other, seed=1)
  argv = tiny.command(tmp_path / 'run', *flags)
  assert 'was started with other ' in mistake(argv, tmp_path)


RECIPES = [
  ('c.num_step = 3', "no key 'num_step'. Did you mean 'num_steps'?"),
  ('c.model.hidden_sise = 8', 'model.hidden_sise'),
  ('c.tasks.causal.wieght = 2.0', "Did you mean 'weight'?"),
  ("c.optimizer = {'name': 'adamw'}", 'config.optimizer'),
  ('c.batch_size = None', 'config.batch_size=None must be of type int'),
  ('len(3)', "TypeError: object of type 'int' has no len()"),
  ('import nowhere', "No module named 'nowhere'"),
  ('return c.', 'invalid syntax'),
]


@pytest.mark.parametrize('line, wanted', RECIPES)
def test_recipes(text, tmp_path, line, wanted):
  path = tmp_path / 'mine.py'
  path.write_text(
    'from tests import tiny\n'
    'def get_config():\n'
    '  c = tiny.get_config()\n'
    f'  {line}\n'
    '  return c\n'
  )
  argv = tiny.command(tmp_path / 'run')
  argv = [f'--config={path}' if '--config=' in a else a for a in argv]
  assert wanted in mistake(argv, tmp_path)


@pytest.mark.parametrize('flags', [[], ['--config.seed=1']])
def test_no_recipe(text, tmp_path, flags):
  argv = tiny.command(tmp_path / 'run')
  argv = [f'--config={tmp_path}/no.py' if '--config=' in a else a for a in argv]
  assert 'no such recipe' in mistake([*argv, *flags], tmp_path)


def test_init_from_another_model(run, tmp_path):
  flags = [f'config.init_from={run}', 'config.model.hidden_size=64']
  line = mistake(tiny.command(tmp_path / 'new', *flags), tmp_path)
  assert 'is of another model: ' in line and '32' in line and '64' in line


def test_run_folder_with_other_files(text, tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  line = mistake(tiny.command(tmp_path), tmp_path)
  assert 'holds other files' in line
  line = mistake(tiny.command(tmp_path / 'thesis.tex'), tmp_path)
  assert 'is a file' in line


@pytest.mark.parametrize('missing', ['--config', '--workdir'])
def test_required_flags(text, tmp_path, missing):
  argv = tiny.command(tmp_path / 'run')
  argv = [a for a in argv if not a.startswith(missing)]
  assert f'{missing} ' in mistake(argv, tmp_path)
