"""What an error in reading or writing a checkpoint says, in one line."""

import contextlib
import functools
import gc
import inspect
import io
import logging
import os
import re
import sys
import threading
import time

from ctxlm.errors import UserError, reason

# What TensorStore calls errors that say nothing of a file's content.
ELSEWHERE = (
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
)

# What it adds where the system refused: Errno.
REFUSED = re.compile(r"os_error_code='(\d+)'")

_one_at_a_time = threading.RLock()


@functools.cache
def hush():
  """Lets Orbax's threads say nothing of a save that fails: it is raised.

  They log it, and leave coroutines behind, whose loop TensorStore's threads
  find closed; each of a hundred parameters has a traceback of its own.
  """
  printed, ignored = sys.excepthook, sys.unraisablehook

  def is_closed(error):
    return isinstance(error, RuntimeError) and 'loop is closed' in str(error)

  def print_others(kind, error, traceback):
    if not is_closed(error):
      printed(kind, error, traceback)

  def ignore_others(what):
    if not inspect.iscoroutine(what.object) and not is_closed(what.exc_value):
      ignored(what)

  sys.excepthook, sys.unraisablehook = print_others, ignore_others
  for name in ('absl', 'asyncio'):
    logging.getLogger(name).addFilter(
      lambda record: not re.search(r'\b(orbax|asyncio)\b', record.pathname)
    )


@contextlib.contextmanager
def writing(folder):
  """Turns what Orbax raises of a save, now or of one before, into a line.

  Args:
    folder: pathlib.Path of the checkpoints.

  Raises:
    OSError: the system refused, as on a full disk; it names the folder.
    UserError: anything else.
  """
  try:
    yield
  except Exception as e:  # Orbax and TensorStore raise many kinds.
    number = e.errno if isinstance(e, OSError) else None
    if match := REFUSED.search(str(e)):
      number = int(match[1])
    if number:
      raise OSError(number, os.strerror(number), str(folder)) from e
    why = reason(e) if folder.is_dir() else 'its folder is gone'
    raise UserError(f'{folder}: a checkpoint can not be written ({why})') from e


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
