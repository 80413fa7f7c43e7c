"""SIGTERM: the warning that this machine is taken away."""

import signal
import threading

import jax


class Stop:
  """Remembers a SIGTERM, the warning that a machine is taken away.

  Signals come to the main thread; one that is made in another thread knows of
  those that the main thread's has got.
  """

  _signalled = threading.Event()

  def __init__(self):
    self._several = jax.process_count() > 1
    self._before = None
    main = threading.current_thread() is threading.main_thread()
    if not self._several and main:
      self._signalled.clear()
      self._before = signal.signal(signal.SIGTERM, self._on_signal)

  def _on_signal(self, *_):
    self._signalled.set()

  def asked(self, step):
    """Whether to stop after `step`: the same answer in every process."""
    if self._several:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._signalled.is_set()

  def restore(self):
    """Puts the former signal handler back."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)
