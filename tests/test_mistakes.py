"""A user's mistake is one line, a non-zero exit, and nothing is written."""

import shutil

import pytest

from tests import mistakes, tiny

ALL = [
  pytest.param(case, id=f'{kind}: {case.name}')
  for kind, listed in mistakes.cases().items()
  for case in listed
]


@pytest.fixture(scope='module')
def folders(text, runs, tmp_path_factory):
  """What mistakes.make_folders makes, of runs that others use too."""
  tmp = tmp_path_factory.mktemp('mistakes')
  found = {'text': text}
  for word, name in (('run', 'causal'), ('mlm', 'mlm')):
    found[word] = shutil.copytree(runs[name].workdir, tmp / word)
  return found


@pytest.mark.slow  # the hundred of them together
@pytest.mark.parametrize('case', ALL)
def test_mistake(folders, tmp_path, case):
  answer = mistakes.run(case, folders, tmp_path)
  assert answer.verdict == 'good', (case.wanted, answer.status, answer.errors)


def test_each_has_a_name():
  names = [case.id for case in ALL]
  assert len(set(names)) == len(names)


def test_command_line(text, tmp_path):
  # The cases above fork a process that has imported everything; this doesn't.
  argv = tiny.command(tmp_path / 'run', 'config.num_stepz=3')
  status, err = tiny.finish(tiny.start(argv))
  assert status == 2 and "mean 'num_steps'?" in err and err.count('\n') == 1
  assert not list(tmp_path.iterdir())
  status, err = tiny.finish(tiny.start([*argv, '--debug']))
  assert status and 'Traceback' in err
