"""How well a run uses its machine: times of steps, waiting for data, MFU.

Steps are dispatched and not waited for, so the loop itself can't tell how long
one takes. A thread waits for each call's results instead and notes when they
are there: the device is asked for nothing more, and the loop waits for nothing.
"""

import queue
import threading
import time

import jax
import numpy as np

from ctxlm import trees
from ctxlm.parallel import chips, memory

# Metrics of the machine begin with it: no two runs have the same.
MACHINE = 'machine/'
MUCH = 0.1  # of a run's time: waiting that is worth a line


class Pace:
  """Tells of steps, from when they are dispatched and when they are done.

  The first call's steps, which wait for the compiler, don't count.
  """

  def __init__(self):
    self._calls = queue.SimpleQueue()
    self._all_seen = threading.Event()
    self._seen, self._before = [], None
    self._took = self._waited = 0.0  # seconds of the whole run
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()

  def add(self, begun, got, steps, metrics):
    """Notes a call.

    Args:
      begun: time.monotonic() when its batch was asked for.
      got: and when it was there.
      steps: int, in this call.
      metrics: arrays that the call gives, and nothing overwrites.
    """
    self._calls.put((begun, got, steps, metrics))

  def _watch(self):
    while call := self._calls.get():
      if call == 'all':
        self._all_seen.set()
        continue
      begun, got, steps, metrics = call
      try:
        jax.block_until_ready(metrics)
      except Exception:  # of the step, which the loop meets as well
        return self._all_seen.set()
      del call, metrics
      self._note(begun, got, steps, time.monotonic())

  def _note(self, begun, got, steps, ready):
    # A device that is done with the step before has nothing to do until it
    # has the batch; while it is busy, nobody waits.
    first, self._before = self._before is None, max(self._before or 0, begun)
    took, waited = ready - self._before, max(got - self._before, 0)
    self._before = ready
    if not first:
      self._seen.append((steps, took, waited))

  def lap(self):
    """Returns {metric: number} of the steps since the last lap.

    All calls that were added must be done, or this waits for them.

    Returns:
      seconds of a step, 'step_seconds', the median, and 'step_seconds_p95',
      the 95th percentile; 'data_wait', the part of their time in which the
      devices had nothing to do, as the next batch wasn't there. Steps of one
      call share its time. Nothing if no step counts.
    """
    if self._thread.is_alive():
      self._calls.put('all')
      self._all_seen.wait()
      self._all_seen.clear()
    seen, self._seen = np.array(self._seen, float).reshape(-1, 3), []
    if not len(seen):
      return {}
    steps, took, waited = seen.T
    each = np.repeat(took / steps, steps.astype(int))
    middle, most = np.percentile(each, (50, 95))
    self._took += took.sum()
    self._waited += waited.sum()
    return {
      f'{MACHINE}step_seconds': middle,
      f'{MACHINE}step_seconds_p95': most,
      f'{MACHINE}data_wait': waited.sum() / max(took.sum(), 1e-9),
    }

  def complaint(self, num_workers):
    """Returns a line about waiting for data, or None if there was little.

    Args:
      num_workers: of the loader.
    """
    if self._waited < max(MUCH * self._took, 1):
      return None
    part = 100 * self._waited / self._took
    return (
      f'{part:.0f} % of the time ({self._waited:,.0f} s of {self._took:,.0f}) '
      f'the devices waited for data: raise config.num_workers={num_workers}, '
      'or prepare less of a row when it is read'
    )

  def close(self):
    """Ends the thread."""
    self._calls.put(None)
    self._thread.join(timeout=10)


def told(metrics):
  """Returns what a line of a log says of `lap` and `usage`, or nothing.

  >>> told({'machine/step_seconds': 0.0123, 'machine/mfu': 0.414})
  '  12.3 ms a step  MFU 41.4 %'
  """
  words = ''
  if (seconds := metrics.get(f'{MACHINE}step_seconds')) is not None:
    words += f'  {1e3 * seconds:,.1f} ms a step'
  if (part := metrics.get(f'{MACHINE}mfu')) is not None:
    words += f'  MFU {100 * part:.1f} %'
  if (part := metrics.get(f'{MACHINE}data_wait', 0)) > MUCH:
    words += f'  waits for data {100 * part:.0f} %'
  return words


def usage(program, rate):
  """Returns {metric: number} of what the machine gives.

  Args:
    program: program.Program.
    rate: tokens a second.

  Returns:
    'mfu', where the chip is known: the part of its bfloat16 peak, whatever the
    model computes in, that 6 N D FLOPs a step are (Kaplan et al. 2020,
    arXiv:2001.08361, section 2.1), of D tokens and N parameters, 4 N D of those
    that are frozen. Attention's own products are left out. And peak memory,
    see memory.peak.
  """
  name, peak = memory.peak()
  told = {f'{MACHINE}{name}': peak / 2**30}
  devices = jax.devices()
  if chip := chips.of(devices[0].device_kind):
    trained, frozen = (
      sum(x.size for x in jax.tree.leaves(part))
      for part in trees.split(program.shapes, program.frozen)
    )
    flops = rate * (6 * trained + 4 * frozen)
    told[f'{MACHINE}mfu'] = flops / (len(devices) * chip.flops)
  return told
