"""The command line: its help, its mistakes, and huge pages where asked."""

import functools
import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from ctxlm import cli, plugins


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


@pytest.mark.parametrize('verb', [[], ['help'], ['--help']])
def test_help_lists_every_verb(capsys, verb):
  assert cli.main(['ctxlm', *verb]) == (0 if verb else 2)
  printed = capsys.readouterr().out
  assert 'usage: ctxlm VERB' in printed and 'python -m ctxlm VERB' in printed
  folder = pathlib.Path(cli.__file__).parent / 'commands'
  verbs = {
    p.stem for p in folder.glob('*.py') if '\ndef main(' in p.read_text()
  }
  listed = {line.split()[0] for line in printed.splitlines()[3:]}
  assert verbs == listed == set(cli.VERBS)


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
  """A verb whose main() does what it is told."""

  def __init__(self, function):
    self._function = function

  def define_flags(self):
    """Defines a flag of a path."""
    flags.DEFINE_string('workdir', None, 'run folder')

  def main(self):
    """Does it."""
    return self._function()


def answer(monkeypatch, capfd, function, *argv):
  """Returns (status, standard error) of a verb."""
  monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())
  for name in ('DEFINE_bool', 'DEFINE_list', 'DEFINE_string'):
    monkeypatch.setattr(
      flags,
      name,
      functools.partial(getattr(flags, name), flag_values=flags.FLAGS),
    )
  with pytest.raises(SystemExit) as e:
    cli.run('train', Verb(function), ['ctxlm train', *argv])
  return e.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
  'error, wanted',
  [
    (OSError(28, 'No space left on device', '/runs/x'), '/runs/x: No space'),
    (PermissionError(13, 'Permission denied', '/runs'), '/runs: Permission'),
    (OSError('the disk is away'), 'the disk is away'),
  ],
)
def test_a_disks_errors_are_one_line(monkeypatch, capfd, error, wanted):
  def fails():
    raise error

  status, err = answer(monkeypatch, capfd, fails)
  assert status == 2 and err.startswith(f'ctxlm train: {wanted}')
  assert err.count('\n') == 1


def test_paths_are_those_that_a_shell_would_give(monkeypatch, capfd):
  seen = []

  def look():
    seen.append(flags.FLAGS.workdir)

  assert answer(monkeypatch, capfd, look, '--workdir=~/x') == (0, '')
  assert seen == [os.path.expanduser('~/x')]
  status, err = answer(monkeypatch, capfd, look, '--workdir=')
  assert status == 2 and '--workdir is empty' in err


@pytest.mark.parametrize('form', ['--allow_code=a,b', '--allow_code a,b'])
def test_modules_are_allowed_however_the_flag_is_written(
  monkeypatch, capfd, tmp_path, form
):
  monkeypatch.setenv(plugins.ALLOW, 'c')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  seen = []

  def look():
    seen.append(os.environ[plugins.ALLOW])

  assert answer(monkeypatch, capfd, look, *form.split()) == (0, '')
  assert seen == ['a,b,c']
  assert sys.path[-1] == str(tmp_path)  # after all that is installed
