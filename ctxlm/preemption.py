"""SIGTERM and Ctrl-C: the run saves, and ends."""

import signal
import threading

import jax


class Stop:
  """Remembers a SIGTERM, the warning that a machine is taken away, or Ctrl-C.

  A second Ctrl-C ends the process as it does elsewhere. Signals come to the
  main thread; one that is made in another thread knows of those that the main
  thread's has got.
  """

  _signalled = threading.Event()

  def __init__(self):
    self._several = jax.process_count() > 1
    self._before = {}
    main = threading.current_thread() is threading.main_thread()
    if not self._several and main:
      self._signalled.clear()
      for kind in (signal.SIGTERM, signal.SIGINT):
        self._before[kind] = signal.signal(kind, self._on_signal)

  def _on_signal(self, kind, _):
    self._signalled.set()
    if kind == signal.SIGINT:
      signal.signal(kind, signal.default_int_handler)

  def asked(self, step):
    """Whether to stop after `step`: the same answer in every process."""
    if self._several:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._signalled.is_set()

  def restore(self):
    """Puts the former signal handlers back."""
    for kind, handler in self._before.items():
      signal.signal(kind, handler)
