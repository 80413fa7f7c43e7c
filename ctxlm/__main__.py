"""`python -m ctxlm VERB`."""

import sys

from ctxlm import cli

sys.exit(cli.main())
