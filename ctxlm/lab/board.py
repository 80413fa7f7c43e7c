"""The progress of a sweep: a line a running point, and the time left."""

import sys
import time

from tqdm import tqdm


class Board:
  """A line of progress a running point, and the time left over all."""

  def __init__(self, jobs, whole=0):
    """Counts the steps of all jobs, and of as many as there will be."""
    self._jobs, self._whole = list(jobs), max(whole, len(jobs))
    self._begun = time.monotonic()
    self._first = None
    self._bars = {}
    self._said = 0.0
    self._tty = sys.stderr.isatty()

  def add(self, jobs):
    """Counts more jobs."""
    self._jobs += jobs

  def drop(self, job):
    """Counts a job no more: what it lacks will not be trained."""
    self._jobs.remove(job)
    self._whole -= 1
    self._first = None  # and the rate is taken anew

  def show(self, running):
    """Moves the bars of running jobs; a plain log has lines, now and then."""
    if not self._tty and time.monotonic() - self._said < 60:
      return
    steps = {
      job.name: job.num_steps if job.done else job.step for job in self._jobs
    }
    done, total = sum(steps.values()), sum(j.num_steps for j in self._jobs)
    if self._jobs:  # those to come have as many steps as the last
      total += (self._whole - len(self._jobs)) * self._jobs[-1].num_steps
    if self._first is None:
      self._first, self._begun = done, time.monotonic()
    seconds = time.monotonic() - self._begun
    rate = (done - self._first) / seconds if seconds else 0
    left = f'{(total - done) / rate / 60:.1f} min left' if rate else ''
    if not self._tty:
      for job in running:
        print(
          f'running {job.name}  step {steps[job.name]} of {job.num_steps}',
          file=sys.stderr,
        )
      print(f'all     {done:,} of {total:,} steps  {left}', file=sys.stderr)
      sys.stderr.flush()
      self._said = time.monotonic()
      return
    for name in set(self._bars) - {job.name for job in running} - {'all'}:
      self._bars.pop(name).close()
    for name, whole in [(j.name, j.num_steps) for j in running] + [
      ('all', total)
    ]:
      if name not in self._bars:
        self._bars[name] = tqdm(
          desc=name, unit='step', leave=False, dynamic_ncols=True
        )
      bar = self._bars[name]
      bar.total = whole
      bar.update(steps.get(name, done) - bar.n)
    self._bars['all'].set_postfix_str(left, refresh=False)

  def say(self, text):
    """Prints a line that stays."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()

  def close(self):
    """Ends the bars."""
    for bar in self._bars.values():
      bar.close()
