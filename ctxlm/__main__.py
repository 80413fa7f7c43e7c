"""`python -m ctxlm VERB`."""

import os
import signal
import sys

# Until a verb has something to end well, Ctrl-C ends it at once, in silence;
# who lets it be ignored is obeyed.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
  signal.signal(signal.SIGINT, signal.SIG_DFL)

# Python finds modules in the current folder first, whoever's it is; what a
# verb needs of it, cli.run adds, last.
if sys.path[0] == os.getcwd() and not any(
  os.path.abspath(p) == sys.path[0]
  for p in os.environ.get('PYTHONPATH', '').split(os.pathsep)
  if p
):
  del sys.path[0]

from ctxlm import cli  # noqa: E402


def main():
  """Runs `ctxlm VERB ...`."""
  sys.exit(cli.main())


if __name__ == '__main__':
  main()
