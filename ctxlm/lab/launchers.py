"""Running a sweep's jobs: as many at once as a launcher has room for.

A launcher is local.Local or cluster.Ray: it starts a job, says whether it runs
and stops it. What is done or was stopped early is not started again.
"""

import dataclasses
import signal
import sys
import time
from pathlib import Path

from ctxlm.lab import asha, results
from ctxlm.lab.board import Board

POLL = 0.5  # seconds


@dataclasses.dataclass
class Job:
  """A point to train.

  Attributes:
    name: of the point.
    folder: its run folder.
    argv: the command line.
    num_steps: that it trains.
    read: bytes of its log that are of attempts before.
  """

  name: str
  folder: Path
  argv: list
  num_steps: int
  read: int = 0

  @property
  def done(self):
    """Whether its last checkpoint is there."""
    return results.is_done(self.folder, self.num_steps)

  @property
  def stopped(self):
    """Whether ASHA stopped it."""
    return asha.is_stopped(self.folder)

  @property
  def log(self):
    """Where the run's standard error goes."""
    return self.folder.parent / 'logs' / f'{self.name}.log'

  @property
  def step(self):
    """The newest step that it has logged."""
    rows = results.read_rows(self.folder)
    return rows[-1]['step'] if rows else 0

  @property
  def reason(self):
    """The last line of its log since `begin`."""
    data = self.log.read_bytes() if self.log.exists() else b''
    lines = data[self.read :].decode(errors='replace').splitlines()
    said = (line for line in reversed(lines) if line.strip())
    return next(said, f'nothing is in {self.log}; is there room on the disk?')

  def begin(self):
    """Lets what is in its log already be of an attempt before."""
    self.read = self.log.stat().st_size if self.log.exists() else 0


def run(jobs, launcher, halving=None, more=None, failure=None, whole=0):
  """Runs all jobs that aren't done; returns the names of those that failed.

  Args:
    jobs: [Job].
    launcher: local.Local or cluster.Ray.
    halving: asha.Asha, which stops jobs that lag; None takes such notes back,
      so that what was stopped goes on.
    more: function that gives further [Job], asked when there is room for one;
      none are the last.
    failure: function that is told of each Job that failed; a UserError of it
      ends the sweep.
    whole: how many jobs there will be with those of `more`.
  """
  jobs = list(jobs)
  for job in jobs:
    if halving:  # what a sweep that was killed had come to
      rows = results.read_rows(job.folder)
      halving.lags(job.name, rows, job.num_steps)
    else:
      asha.go_on(job.folder)
  todo = [job for job in jobs if not job.done and not job.stopped]
  board = Board([job for job in jobs if not job.stopped], whole)
  failed, running = [], []
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of finally
  try:
    while True:
      while launcher.has_room(len(running)):
        if more and not todo:
          new = more()
          jobs += new
          todo += new
          board.add(new)
        if not todo:
          break
        job = todo.pop(0)
        job.log.parent.mkdir(exist_ok=True)
        job.begin()
        running.append((job, launcher.start(job), time.monotonic()))
      if not running:
        break
      time.sleep(POLL)
      for job, handle, begun in list(running):
        if launcher.is_running(handle):
          at = None
          if halving and not job.stopped:
            rows = results.read_rows(job.folder)
            at = halving.lags(job.name, rows, job.num_steps)
          if at:
            asha.stop(job.folder, at[0], halving.metric, at[1])
            launcher.stop(handle)
          continue
        running.remove((job, handle, begun))
        seconds = time.monotonic() - begun
        if job.done:
          board.say(f'done    {job.name}  {seconds:.0f} s')
          if halving:
            halving.check(results.read_rows(job.folder))
        elif job.stopped:
          board.drop(job)
          board.say(f'stopped {job.name}  {seconds:.0f} s, step {job.step}')
        else:
          board.drop(job)
          failed.append(job.name)
          if failure:
            failure(job)
          board.say(f'FAILED  {job.name}: {job.reason}')
      board.show([job for job, _, _ in running])
  finally:
    launcher.close([handle for _, handle, _ in running])
    board.close()
  early = sum(job.stopped for job in jobs)
  board.say(
    f'{sum(job.done for job in jobs)} of {len(jobs)} points are done'
    + (f', {early} stopped early' if early else '')
    + (
      f'; {len(failed)} failed, the same command tries again' if failed else ''
    )
  )
  return failed
