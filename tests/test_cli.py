"""The command line: its help, its mistakes, and huge pages where asked."""

import os
import pathlib
import sys

import pytest

from ctxlm import cli


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
