"""`python -m ctxlm VERB`."""

import os
import sys

# Python finds modules in the current folder first, whoever's it is; what a
# verb needs of it, cli.run adds, last.
if sys.path[0] == os.getcwd() and not any(
  os.path.abspath(p) == sys.path[0]
  for p in os.environ.get('PYTHONPATH', '').split(os.pathsep)
  if p
):
  del sys.path[0]

from ctxlm import cli  # noqa: E402

sys.exit(cli.main())
