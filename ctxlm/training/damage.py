"""What an error in reading a checkpoint says of it, and of it alone."""

import contextlib
import gc
import io
import logging
import sys
import threading
import time

# What TensorStore calls errors that say nothing of a file's content.
ELSEWHERE = (
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
)

_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def quiet():
  """Lets Orbax and TensorStore raise in a `with` block, and say nothing.

  They log beside, and print tracebacks from threads that outlive the call.
  Standard error and logging are the whole process's: so one thread at a time,
  and what others say comes after.
  """
  with _one_at_a_time:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    said = io.StringIO()
    try:
      with contextlib.redirect_stderr(said):
        try:
          yield
        except Exception:  # whatever it is, it is raised when threads are done
          gc.collect()
          time.sleep(0.2)
          raise
      if said.getvalue() and sys.stderr:  # None where it was closed
        sys.stderr.write(said.getvalue())
    finally:
      logging.disable(level)


def is_elsewhere(error):
  """Whether it is of memory, permissions or a disk that is away.

  A file may be whole for all that.
  """
  if isinstance(error, OSError):
    return not isinstance(error, FileNotFoundError)
  return isinstance(error, MemoryError) or any(
    word in str(error) for word in ELSEWHERE
  )


def reason(error):
  """Returns what an error says, in a part of a line."""
  return ' '.join(str(error).split())[:120] or type(error).__name__
