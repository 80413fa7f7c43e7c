"""A trace of some steps of a run, and the operations that took longest."""

import os
import time

import jax

from ctxlm.errors import UserError, reason
from ctxlm.training import trace

MOST = 5  # operations that are told of
COMPILE = 2  # steps before the trace, where there are as many


def check(steps, num_steps, start=0):
  """Raises UserError if so many steps can't be traced.

  Args:
    steps: that are asked for, or 0.
    num_steps: config.num_steps.
    start: steps that the run has had.
  """
  left = num_steps - start
  if steps and steps >= left:
    at = f', of which the run has {start}' if start else ''
    raise UserError(
      f'--profile={steps} needs {steps + 1} steps, as the first compiles and '
      f'is not traced, and config.num_steps={num_steps}{at}: lower it, or '
      'raise config.num_steps'
    )


class Profile:
  """Traces some steps of a run: of the first process, when they are its turn.

  What else is due in these steps, such as an evaluation, is in the trace too.
  Devices are waited for before the trace begins and before it ends.
  """

  def __init__(self, steps, start, num_steps, workdir):
    """Traces nothing yet.

    Args:
      steps: to trace, or 0: then nothing is done at all.
      start: the run's first step.
      num_steps: its last.
      workdir: pathlib.Path of the run folder.
    """
    self._folder = workdir / 'profile'
    self._begin = start + min(COMPILE, num_steps - start - steps)
    self._end = self._begin + steps
    # A call of several steps ends at each of these.
    self._stops = (start + 1, self._begin, self._end) if steps else ()
    self._begun = None

  def until(self, done, stop):
    """Returns the step that a call which begins after `done` goes up to."""
    return min([stop, *(at for at in self._stops if at > done)])

  def after(self, done, metrics):
    """Begins or ends the trace where it is time.

    Args:
      done: steps that were dispatched.
      metrics: arrays of the last.

    Returns:
      lines to show, once the trace is written.
    """
    if done not in self._stops[1:] or jax.process_index():
      return []
    jax.block_until_ready(metrics)
    if done == self._begin:
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0  # it would be most of what is traced
      jax.profiler.start_trace(
        self._folder, create_perfetto_trace=True, profiler_options=options
      )
      self._begun = time.monotonic()
      return []
    if self._begun is None:
      return []
    seconds = time.monotonic() - self._begun
    try:
      self.close()
      return self._told(seconds)
    except (OSError, RuntimeError, ValueError) as e:
      return [f'{self._folder}: the trace can not be written: {reason(e)}']

  def close(self):
    """Ends a trace that is under way."""
    if self._begun is not None:
      self._begun = None
      jax.profiler.stop_trace()

  def _told(self, seconds):
    steps = self._end - self._begin
    written = self._folder.glob('plugins/profile/*/*.xplane.pb')
    path = max(written, key=os.path.getmtime)
    found = trace.operations(trace.times(path), compiled())
    each = 1e6 * steps * jax.local_device_count()  # ns to ms of one step
    total = sum(took for _, took in found)
    lines = [
      f'traced steps {self._begin + 1} to {self._end}, '
      f'{1e3 * seconds / steps:,.1f} ms each: tensorboard --logdir '
      f'{self._folder}, or {path.parent}/perfetto_trace.json.gz in '
      'ui.perfetto.dev',
      f'of {total / each:,.2f} ms of operations a step on a device, most were:',
    ]
    return lines + [
      f'{took / each:10,.3f} ms {100 * took / total:5.1f} %  {name}'
      for name, took in found[:MOST]
    ]


def compiled():
  """Returns the modules of all programs on this process's devices.

  They are [(name, {instruction: trace.Instruction})], as trace.operations
  takes them.
  """
  client = jax.local_devices()[0].client
  return [
    (module.name, trace.instructions(module.to_string()))
    for executable in client.live_executables()
    for module in executable.hlo_modules()
  ]
