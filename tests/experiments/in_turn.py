"""A sweep in one process, which imports and compiles once for all points."""

import contextlib
import io
import shlex

from ctxlm import cli


def main(argv):
  """Trains the points that `ctxlm sweep --launcher=print` prints; reports.

  Args:
    argv: ['ctxlm', 'sweep', EXPERIMENT, '--workdir=DIR', *flags].
  """
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    end([*argv, '--launcher=print'])
  for line in printed.getvalue().splitlines():
    end(shlex.split(line))
  end(['ctxlm', 'report', *argv[2:4]])


def end(argv):
  """Runs a verb to its end; one that fails ends the process."""
  try:
    cli.main(argv)
  except SystemExit as e:
    if e.code:
      raise
