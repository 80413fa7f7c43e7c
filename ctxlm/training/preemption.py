"""SIGTERM and Ctrl-C: the run saves, and ends."""

import signal

import jax


class _Asked(BaseException):
  """Raised where the main thread waits."""


class Stop:
  """Remembers a SIGTERM, the warning that a machine is taken away, or Ctrl-C.

  A second Ctrl-C ends the process as it does elsewhere.
  """

  def __init__(self):
    self._several = jax.process_count() > 1
    self._signalled = self._waiting = False
    self._before = {}

  def __enter__(self):
    if not self._several:
      for kind in (signal.SIGTERM, signal.SIGINT):
        self._before[kind] = signal.signal(kind, self._on_signal)
    return self

  def _on_signal(self, kind, _):
    self._signalled = True
    if kind == signal.SIGINT:
      signal.signal(kind, signal.default_int_handler)
    if self._waiting:
      self._waiting = False
      raise _Asked

  def __exit__(self, *_):
    for kind, handler in self._before.items():
      signal.signal(kind, handler)

  def wait(self, function, *args):
    """Returns function(*args), or None if asked to stop before it is done.

    For what may be slow and is not needed then, such as the next batch. With
    several processes it is waited for: they must stop after the same step.
    """
    try:
      try:
        self._waiting = True
        return None if self._signalled else function(*args)
      finally:  # within the outer block, as a signal may come here too
        self._waiting = False
    except _Asked:
      return None

  def asked(self, step):
    """Whether to stop after `step`: the same answer in every process."""
    if self._several:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._signalled
