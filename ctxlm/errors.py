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
  What can't be printed, which a file may have in any name, is escaped.
  """

  def __init__(self, message):
    """Takes the message, of which the middle is left out if it is very long."""
    message = printable(str(message))
    if len(message) > MOST:
      message = f'{message[: MOST // 2]}...{message[-MOST // 4 :]}'
    super().__init__(message)


MOST = 1000  # characters of a message


def printable(text):
  """Returns a text with what can't be printed, or ends a line, escaped."""
  return ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode() for c in text
  )


def reason(error):
  """Returns what an error of a library says, in a part of a line."""
  text = ' '.join(str(error).split()) or type(error).__name__
  text = printable(text)
  return text if len(text) <= 160 else f'{text[:157]}...'


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
      name = e.filename2 or e.filename  # of a copy, where it goes
      name = name if isinstance(name, str) else str(path)
      e.filename, e.filename2 = TEMPORARY.sub('', name), None
    raise
