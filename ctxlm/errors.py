"""What the user is told: mistakes to mend, and notes of what was done.

Both are one line on standard error.
"""

import contextlib
import functools
import re
import sys


class UserError(Exception):
  """A mistake in a config, a flag or a file. The message is one line.

  The command line prints the message without a traceback and exits with 2.
  """


@functools.cache
def note(text):
  """Prints a line on standard error, the same one once a process."""
  print(text, file=sys.stderr, flush=True)


# What a file is called on its way to its name, see files.new_file.
TEMPORARY = re.compile(r'\.[0-9a-f]{8}\.new(?=/|$)')


@contextlib.contextmanager
def naming(path):
  """Lets an OSError of a `with` block name the file that was to be written."""
  try:
    yield
  except OSError as e:
    if e.errno is not None:
      name = e.filename if isinstance(e.filename, str) else str(path)
      e.filename, e.filename2 = TEMPORARY.sub('', name), None
    raise
