"""Points as processes of this machine."""

import fcntl
import multiprocessing
import os
import signal

from ctxlm.data.loader import die_with_parent


class Local:
  """Processes of this machine; each has its share of the cores."""

  def __init__(self, jobs, main):
    """Makes a server that forks processes which have imported everything."""
    self._jobs, self._main = jobs, main
    self._context = multiprocessing.get_context('forkserver')
    self._context.set_forkserver_preload(['ctxlm.training.loop'])

  def has_room(self, running):
    """Whether one more may start."""
    return running < self._jobs

  def start(self, job):
    """Starts a job."""
    threads = max((os.cpu_count() or 1) // self._jobs, 1)
    process = self._context.Process(
      target=_train, args=(self._main, job.argv, str(job.log), threads)
    )
    process.start()
    return process

  def is_running(self, process):
    """Whether it has not ended."""
    return process.is_alive()

  def stop(self, process):
    """Asks a job to save and end."""
    process.terminate()

  def close(self, running):
    """Asks what still runs to save and stop."""
    for process in running:
      process.terminate()
    for process in running:
      process.join()


def _train(main, argv, log, threads):
  die_with_parent()
  # Ctrl-C goes to all processes: the sweep asks each to save and end.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  with open(log, 'a') as file:
    os.dup2(file.fileno(), 2)
    os.dup2(file.fileno(), 1)
  # A process that a killed sweep left behind may not be gone yet.
  fcntl.flock(2, fcntl.LOCK_EX)
  os.environ['NPROC'] = str(threads)  # of XLA's CPU client
  main(argv)
