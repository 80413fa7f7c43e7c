"""Who writes a file or a folder: one process, as long as it lives."""

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from ctxlm.errors import UserError, naming

NAME = '.lock'  # in a folder that is held


class Lock:
  """A lock on a file, which the system releases when its holder dies.

  On network disks too, as far as they have locks. The file is removed at the
  end, and only by its holder; what a killed one left serves the next.
  """

  def __init__(self, path, what):
    """Takes the lock.

    Args:
      path: pathlib.Path of the file, made if need be.
      what: what is being done under it, for the message.

    Raises:
      UserError: another process holds it; says which.
      OSError: the file can't be written.
    """
    self._path, self._locked = path, True
    with naming(path):
      while True:
        self._file = path.open('ab+', buffering=0)
        try:
          fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
          self._file.seek(0)
          holder = self._file.read().decode().strip() or 'another process'
          self._file.close()
          raise UserError(
            f'{path.parent}: {holder} {what} there; wait until it ends, or '
            'name another folder'
          ) from e
        except OSError:  # a disk without locks
          self._locked = False
        if not self._locked or self._is_there():
          break
        self._file.close()  # its holder has removed it meanwhile
      self._file.truncate(0)
      text = f'process {os.getpid()} on {socket.gethostname()}\n'
      self._file.write(text.encode())

  @classmethod
  def of_output(cls, path):
    """Returns the Lock of a file that a command writes, beside it."""
    path = Path(path)
    return cls(path.with_name(f'.{path.name}.lock'), f'writes {path.name}')

  def _is_there(self):
    try:
      return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
    except OSError:
      return False

  def close(self):
    """Gives the lock back."""
    if self._locked and self._is_there():
      with contextlib.suppress(OSError):
        self._path.unlink()
    self._file.close()


@contextlib.contextmanager
def held(folder, what):
  """Holds a folder for its one writer, and makes it if need be.

  It is gone again if nothing has come into it.

  Args:
    folder: pathlib.Path.
    what: see Lock.

  Raises:
    UserError, OSError: as Lock.
  """
  if folder.exists() and not folder.is_dir():
    raise UserError(f'{folder} is a file; name a folder')
  try:
    str(folder.absolute()).encode()
  except UnicodeEncodeError as e:  # Orbax takes no other names
    raise UserError(f'{folder}: its name is no UTF-8; name another') from e
  made = [p for p in (folder, *folder.parents) if not p.exists()]
  with contextlib.ExitStack() as undo:
    undo.callback(_remove_empty, made)
    folder.mkdir(parents=True, exist_ok=True)
    undo.enter_context(contextlib.closing(Lock(folder / NAME, what)))
    yield


def _remove_empty(folders):
  with contextlib.suppress(OSError):
    for folder in folders:
      folder.rmdir()
