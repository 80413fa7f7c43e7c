"""The command line begins anew with huge pages, once, where they are asked."""

import os
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
