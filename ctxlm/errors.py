"""What the user is told: mistakes to mend, and notes of what was done.

Both are one line on standard error.
"""

import functools
import sys


class UserError(Exception):
  """A mistake in a config, a flag or a file. The message is one line.

  The command line prints the message without a traceback and exits with 2.
  """


@functools.cache
def note(text):
  """Prints a line on standard error, the same one once a process."""
  print(text, file=sys.stderr, flush=True)
