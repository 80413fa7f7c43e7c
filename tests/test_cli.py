"""The command line: its help, its mistakes, and huge pages where asked."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from ctxlm import cli, plugins
from ctxlm.commands.flags import number, one_of
from ctxlm.ranges import Count


@pytest.mark.parametrize(
  'enabled, begins_anew',
  [
    ('always [madvise] never', True),
    ('[always] madvise never', False),
    ('always madvise [never]', False),
    (None, False),
  ],
)
def test_huge_pages(monkeypatch, tmp_path, enabled, begins_anew):
  calls, path = [], tmp_path / 'enabled'
  if enabled:
    path.write_text(enabled)
  monkeypatch.setattr(cli, 'HUGE_PAGES', path)
  monkeypatch.setattr(os, 'execv', lambda *call: calls.append(call))
  monkeypatch.setenv('GLIBC_TUNABLES', '')  # so that it is put back
  monkeypatch.delenv('GLIBC_TUNABLES')
  cli.use_huge_pages()
  cli.use_huge_pages()  # as the new process does
  want = [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
  assert calls == (want if begins_anew else [])


def listed_verbs():
  folder = pathlib.Path(cli.__file__).parent / 'commands'
  return {p.stem for p in folder.glob('*.py') if '\ndef main(' in p.read_text()}


@pytest.mark.parametrize('verb', [[], ['help'], ['--help']])
def test_help_lists_every_verb(capsys, verb):
  assert cli.main(['ctxlm', *verb]) == (0 if verb else 2)
  printed = capsys.readouterr().out
  assert 'usage: ctxlm VERB' in printed and 'python -m ctxlm VERB' in printed
  rows = [line.split() for line in printed.split('\n\n')[1].splitlines()]
  assert {row[0] for row in rows} == listed_verbs() == set(cli.VERBS)
  assert all(len(row) > 3 for row in rows)


@pytest.mark.parametrize('verb', sorted(cli.VERBS))
@pytest.mark.parametrize('form', ['help VERB', 'VERB --help', 'VERB --x -h'])
def test_help_of_a_verb(capsys, verb, form):
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', *form.replace('VERB', verb).split()])
  printed = capsys.readouterr().out
  assert e.value.code in (None, 0)
  assert printed.startswith(f'ctxlm {verb}: ')
  examples = re.findall(r'^  .*ctxlm (\w+) -*\w', printed, re.MULTILINE)
  assert len([word for word in examples if word == verb]) >= 3
  assert '--help ' in printed and '--debug ' in printed
  assert max(map(len, printed.splitlines())) <= 80
  for word in ('absl', 'alsologtostderr', 'None', '==SUPPRESS'):
    assert word not in printed


def test_help_and_mistakes_of_flags_import_nothing_heavy():
  script = (
    'import sys\n'
    'from ctxlm import cli\n'
    'for words in ("help", "help sweep", "generate --modell=x"):\n'
    '  try:\n'
    '    cli.main(["ctxlm", *words.split()])\n'
    '  except SystemExit:\n'
    '    pass\n'
    'heavy = {"jax", "flax", "scipy", "matplotlib", "tensorflow_datasets"}\n'
    'sys.exit(len(heavy & set(sys.modules)))'
  )
  argv = [sys.executable, '-c', script]
  done = subprocess.run(argv, capture_output=True, check=False)
  assert done.returncode == 0 and b'--modell' in done.stderr, done.stderr


@pytest.mark.parametrize(
  'line, wanted',
  [
    ('ctxlm gener', {'generate'}),
    ('ctxlm generate --mo', {'--model'}),
    ('ctxlm train --config quickstart_c', {'causal', 'contrastive'}),
  ],
)
def test_completion(line, wanted):
  environment = {
    'COMP_LINE': line,
    'COMP_POINT': str(len(line)),
    'COMP_WORDBREAKS': ' ',
    '_ARGCOMPLETE': '1',
    '_ARGCOMPLETE_STDOUT_FILENAME': '/dev/stdout',
    'IFS': ' ',
  }
  status, out, err = in_shell('ctxlm ', **environment)
  assert status == 0, err
  words = {word.split('quickstart_')[-1] for word in out.split()}
  assert words == wanted


def test_a_misspelt_verb(capsys):
  assert cli.main(['ctxlm', 'trian']) == 2
  wanted = "ctxlm: no verb 'trian'. Did you mean 'train'?\n"
  assert capsys.readouterr().err == wanted


def in_shell(line, **environment):
  """Returns (status, standard output, standard error) of a shell's line."""
  root = pathlib.Path(cli.__file__).parent.parent
  environment = os.environ | {'PYTHONPATH': str(root)} | environment
  line = line.replace('ctxlm ', f'{sys.executable} -m ctxlm ')
  done = subprocess.run(
    ['bash', '-c', line], capture_output=True, env=environment, check=False
  )
  return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_streams_may_be_closed_or_unread(tmp_path):
  script = tmp_path / 'writes.py'
  script.write_text(
    'import sys\n'
    'from ctxlm import cli\n'
    'cli.prepare_streams()\n'
    'f = open(sys.argv[1], "w")\n'
    'assert f.fileno() > 2\n'
    'for i in range(9000):\n'
    '  print("progress", i, "\\u65e5\\udcff", file=sys.stderr, flush=True)\n'
    'f.write("done")\n'
  )
  done = tmp_path / 'done'
  for redirect in (
    '2>&-', '>&-', '<&- 2>&- >&-', '2>&1 >/dev/null | head -1', '2>/dev/null'
  ):  # fmt: skip
    done.unlink(missing_ok=True)
    line = f'set -o pipefail; {sys.executable} {script} {done} {redirect}'
    status, _, err = in_shell(line, PYTHONIOENCODING='ascii')
    assert status == 0 and 'Traceback' not in err, (redirect, err)
    assert done.read_text() == 'done'
  status, _, err = in_shell(
    f'{sys.executable} {script} {done}', PYTHONIOENCODING='ascii'
  )
  assert err.startswith('progress 0 \\u65e5\\udcff\n')


class Verb:
  """A verb with flags of every kind, which does what it is told."""

  def __init__(self, function):
    self._function = function

  def add_flags(self, parser):
    """Declares a flag of each kind."""
    use = 'what is read'
    parser.add_paths('PATH', 'files')
    parser.add_config('recipe', needed=False)
    parser.add(use, '--workdir', metavar='DIR', help='run folder')
    parser.add(use, '--to-hf', metavar='DIR', help='folder')
    parser.add(use, '--num', type=number(Count), default=3, help='count')
    parser.add(use, '--mode', **one_of(('min', 'max')), help='which')
    parser.add(use, '--stop', action='append', default=[], help='texts')
    parser.add(use, '--fast', action='store_true', help='be quick')

  def main(self, F):
    """Does it."""
    return self._function(F)


def answer(capfd, function, *argv):
  """Returns (status, standard error) of a verb."""
  with pytest.raises(SystemExit) as e:
    cli.run('train', Verb(function), argv)
  return e.value.code, capfd.readouterr().err


def read(capfd, *argv):
  """Returns the flags that a verb is given, or the line of a mistake."""
  seen = []
  status, err = answer(capfd, seen.append, *argv)
  if status:
    assert status == 2 and err.count('\n') == 1
    return err.removeprefix('ctxlm train: ').rstrip('\n')
  return vars(seen[0])


@pytest.mark.parametrize(
  'argv, name, value',
  [
    ('--num=4', 'num', 4),
    ('--num 4', 'num', 4),
    ('', 'num', 3),
    ('--num=4 --num=5', 'num', 5),
    ('--to-hf x', 'to_hf', 'x'),
    ('--to_hf=x', 'to_hf', 'x'),
    ('--workdir -x', 'workdir', '-x'),
    ('--workdir=--num=4', 'workdir', '--num=4'),
    ('--stop a --stop=b', 'stop', ['a', 'b']),
    ('--stop=', 'stop', ['']),
    ('--fast', 'fast', True),
    ('--fast=false', 'fast', False),
    ('a --fast b --num 4 c', 'paths', ['a', 'b', 'c']),
    ('--config f --config.a.b=1', 'overrides', [('a.b', '1')]),
    ('--config.a 1', 'overrides', [('a', '1')]),
    ('--config.b --num=4', 'overrides', [('b', 'true')]),
    ('--config.a=x=y', 'overrides', [('a', 'x=y')]),
    ('--config.a=', 'overrides', [('a', '')]),
  ],
)  # fmt: skip
def test_flags(capfd, argv, name, value):
  assert read(capfd, *argv.split())[name] == value


@pytest.mark.parametrize(
  'argv, wanted',
  [
    ('--nmu=4', "there is no --nmu. Did you mean '--num'?"),
    ('--num=0', '--num=0 must be 1 or more'),
    ('--num=-1', '--num=-1 must be 1 or more'),
    ('--num=1.5', '--num=1.5 must be a whole number'),
    ('--num=', '--num= must be a whole number'),
    ('--num --fast', '--num needs a value'),
    ('--num', '--num needs a value'),
    ('--fast=maybe', '--fast takes no value'),
    ('--mode=mix', '--mode=mix is none of its values. Did you mean'),
    (
      '--num_steps=3',
      "there is no --num_steps. Did you mean '--config.num_steps'?",
    ),
    (
      '--lr 3',
      "there is no --lr. Did you mean '--config.optimizer.learning_rate'?",
    ),
    ('--=3', 'there is no --. Known: '),
    ('--wor x', "there is no --wor. Did you mean '--workdir'?"),
  ],
)
def test_mistakes_in_flags(capfd, argv, wanted):
  assert read(capfd, *argv.split()).startswith(wanted)


def test_a_value_stays_as_it_was_written(capfd):
  for text in ('', ' ', '\u65e5', '%(x)s %', 'a\'b"', 'x\ny', '[1, 2]'):
    assert read(capfd, f'--stop={text}')['stop'] == [text]
    assert read(capfd, '--stop', text)['stop'] == [text]


@pytest.mark.parametrize(
  'error, wanted',
  [
    (OSError(28, 'No space left on device', '/runs/x'), '/runs/x: No space'),
    (PermissionError(13, 'Permission denied', '/runs'), '/runs: Permission'),
    (OSError('the disk is away'), 'the disk is away'),
  ],
)
def test_a_disks_errors_are_one_line(capfd, error, wanted):
  def fails(F):
    del F
    raise error

  status, err = answer(capfd, fails)
  assert status == 2 and err.startswith(f'ctxlm train: {wanted}')
  assert err.count('\n') == 1


def test_paths_are_those_that_a_shell_would_give(capfd):
  wanted = os.path.expanduser('~/x')
  assert read(capfd, '--workdir=~/x')['workdir'] == wanted
  assert read(capfd, '--workdir=') == (
    '--workdir is empty: name a file or a folder'
  )
  assert read(capfd, '--to-hf=') == (
    '--to-hf is empty: name a file or a folder'
  )


@pytest.mark.parametrize('form', ['--allow_code=a,b', '--allow-code a,b'])
def test_modules_are_allowed_however_the_flag_is_written(
  monkeypatch, capfd, tmp_path, form
):
  monkeypatch.setenv(plugins.ALLOW, 'c')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  seen = []

  def look(F):
    del F
    seen.append(os.environ[plugins.ALLOW])

  assert answer(capfd, look, *form.split()) == (0, '')
  assert seen == ['a,b,c']
  assert sys.path[-1] == str(tmp_path)  # after all that is installed


def test_ctrl_c_in_a_callback_of_the_collector_is_heard(tmp_path):
  script = (
    'import gc, signal, sys, time\n'
    'from ctxlm import cli\n'
    'cli.heed_interrupts()\n'
    'def interrupted(phase, info):\n'
    '  gc.callbacks.clear()\n'
    '  signal.raise_signal(signal.SIGINT)\n'
    'gc.callbacks.append(interrupted)\n'
    'try:\n'
    '  gc.collect()\n'
    '  for _ in range(2000):\n'  # what is raised again cuts no sleep short
    '    time.sleep(0.01)\n'
    'except KeyboardInterrupt:\n'
    '  sys.exit(3)\n'
  )
  argv = [sys.executable, '-c', script]
  done = subprocess.run(argv, capture_output=True, check=False)
  assert (done.returncode, done.stderr) == (3, b'')


@pytest.mark.parametrize('ignored', [False, True])
def test_ctrl_c_at_the_start_is_silent(ignored):
  script = (
    'import os, signal, subprocess, sys, time\n'
    f'if {ignored}:\n'
    '  signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
    'argv = [sys.executable, "-X", "importtime", "-m", "ctxlm", "recipes"]\n'
    'p = subprocess.Popen(argv, stdout=-1, stderr=-1, text=True)\n'
    'err = ""\n'
    'while "numpy" not in err:\n'
    '  err += p.stderr.readline()\n'
    'p.send_signal(signal.SIGINT)\n'
    'out, err = p.communicate()\n'
    'print(p.returncode, "Traceback" in err)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, check=False
  )
  assert done.stdout.split() == (['0', 'False'] if ignored else ['-2', 'False'])
