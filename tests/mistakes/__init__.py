"""The table of mistakes: what a user may do wrong, and the line that answers.

Each module beside this one holds the CASES of a kind. `python -m
tests.mistakes [WORD ...]` prints each case whose name or module has a word,
its line and its exit, and counts. A case runs in a process of its own, forked
from one that has imported everything (tests/tiny.py).
"""

import dataclasses
import importlib
import os
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

from ctxlm import files
from tests import tiny

SECONDS = 180  # a case that takes longer hangs
LONGEST = 400  # characters of a line that a user reads


@dataclasses.dataclass(frozen=True)
class Case:
  """A mistake, and what answers it.

  Attributes:
    name: says the mistake; no other case has it.
    argv: after `ctxlm`. In its texts, {run} is a finished causal run, {mlm} a
      masked one, {tmp} a fresh folder and {text} a text file.
    wanted: regular expression, searched in the line.
    make: make(tmp, folders) prepares files; folders is {word: path} of the
      words above.
    status: exit status; 0 where the line is a note and the work goes on.
    stdin: bytes that the command reads.
    devices: how many simulated ones.
    writes: whether the mistake shows only at work, so that {tmp} is written
      to, and lines of progress come before.
    room: bytes that a file may have, as if the disk were full; without that
      the same command must then work, and leave nothing on its way.
  """

  name: str
  argv: tuple
  wanted: str
  make: Callable | None = None
  status: int = 2
  stdin: bytes = b''
  devices: int = 1
  writes: bool = False
  room: int | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a case was answered.

  Attributes:
    verdict: 'good'; 'traceback', or any other heap of lines; 'accepted', it
      ended well; 'misleading', another line; 'written', something was left;
      'status N', 'signal N' or 'hang'; 'stuck', it doesn't work with room.
    line: the last of standard error.
    status: of the exit; None where it hangs.
    errors: all of standard error.
  """

  verdict: str
  line: str
  status: int | None
  errors: str


def train(*flags, recipe='tests/tiny.py:causal'):
  """Returns the argv that trains a recipe in a new folder of {tmp}."""
  flags = (f'--{flag}' for flag in flags)
  return ('train', f'--config={recipe}', '--workdir={tmp}/new', *flags)


def cases():
  """Returns {name of the module: its CASES}."""
  names = sorted(m.name for m in pkgutil.iter_modules(__path__))
  modules = {
    n: importlib.import_module(f'{__name__}.{n}') for n in names if n[0] != '_'
  }
  return {name: module.CASES for name, module in modules.items()}


def run(case, folders, tmp):
  """Returns the Answer to a case.

  Args:
    case: Case.
    folders: {'run': path, 'mlm': path, 'text': path}.
    tmp: pathlib.Path of a fresh folder.
  """
  (tmp / 'work').mkdir()
  folders = folders | {'tmp': tmp / 'work'}
  if case.make:
    case.make(tmp / 'work', folders)
  (tmp / 'stdin').write_bytes(case.stdin)
  before = _contents(folders)
  argv = ['python', '-m', 'ctxlm', *(_fill(a, folders) for a in case.argv)]
  status, errors = _answer(case, argv, tmp, case.room)
  line = (errors.splitlines() or [''])[-1]
  wrote = _contents(folders) != before
  verdict = _judge(case, status, errors, line, wrote)
  if case.room is not None and verdict == 'good':
    status, errors = _answer(case, argv, tmp)
    left = [p for p in (tmp / 'work').rglob('*') if files.is_temporary(p)]
    if status or left:
      verdict = 'stuck'
  return Answer(verdict, line, status, errors)


def _answer(case, argv, tmp, room=None):
  # (exit status, standard error); None where it hangs.
  process = tiny.fork(
    argv, case.devices, tmp / 'errors', str(tmp / 'stdin'), room, haste=True
  )
  process.join(SECONDS)
  status = process.exitcode
  if status is None:
    process.kill()
    process.join()
  return status, (tmp / 'errors').read_text(errors='replace')


def _judge(case, status, errors, line, wrote):
  if status is None:
    return 'hang'
  if status < 0:
    return f'signal {-status}'
  lines = errors.count('\n')
  if 'Traceback' in errors or (lines > 1 and not case.writes):
    return 'traceback'
  if status == 0 != case.status:
    return 'accepted'
  if status != case.status:
    return f'status {status}'
  if wrote and not case.writes:
    return 'written'
  says = status != 2 or line.startswith(f'ctxlm {case.argv[0]}: ')
  plain = '\\\\' not in line and len(line) < LONGEST and errors.endswith('\n')
  good = says and plain and re.search(case.wanted, line)
  return 'good' if good else 'misleading'


def _fill(argument, folders):
  for word, path in folders.items():
    argument = argument.replace('{' + word + '}', str(path))
  return argument


def _contents(folders):
  """Returns {path: bytes} of everything there, but who locked it."""
  paths = [p for f in folders.values() for p in (f, *f.rglob('*'))]
  return {
    path: path.read_bytes() if path.is_file() else path.is_dir()
    for path in paths
    if not path.name.endswith('.lock')
  }


def make_folders(tmp):
  """Trains the finished runs; returns {word: path} for `run`.

  Args:
    tmp: pathlib.Path of a fresh folder.
  """
  text = tiny.write_text(tmp / 'text.txt')
  os.environ['TINY_TEXT'] = str(text)
  folders = {'text': Path(text)}
  for word, recipe in (('run', 'causal'), ('mlm', 'mlm')):
    folders[word] = tmp / word
    flags = ('config.num_steps=4', 'config.checkpoint.every_steps=0')
    argv = tiny.command(folders[word], *flags, name=recipe)
    process = tiny.fork(argv, 1, tmp / 'errors')
    process.join()
    assert process.exitcode == 0, (tmp / 'errors').read_text()
  return folders
