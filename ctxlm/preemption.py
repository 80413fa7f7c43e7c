"""SIGTERM: the warning that this machine is taken away."""

import signal

import jax


class Stop:
  """Remembers a SIGTERM, the warning that a machine is taken away."""

  def __init__(self):
    self._asked = False
    self._several = jax.process_count() > 1
    self._before = None
    if not self._several:
      self._before = signal.signal(signal.SIGTERM, self._on_signal)

  def _on_signal(self, *_):
    self._asked = True

  def asked(self, step):
    """Whether to stop after `step`: the same answer in every process."""
    if self._several:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked

  def restore(self):
    """Puts the former signal handler back."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)
