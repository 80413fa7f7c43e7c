"""Where a sweep's points run: on this machine, on a Ray cluster, or by hand."""

import dataclasses
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import connection
from pathlib import Path

from absl import flags

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.lab import asha, experiment
from ctxlm.lab.board import Board

NAMES = ('local', 'ray', 'print')
POLL = 0.5  # seconds


@dataclasses.dataclass
class Job:
  """A point to train.

  Attributes:
    name: of the point.
    folder: its run folder.
    argv: the command line.
    num_steps: that it trains.
  """

  name: str
  folder: Path
  argv: list
  num_steps: int

  @property
  def done(self):
    """Whether its last checkpoint is there."""
    return experiment.is_done(self.folder, self.num_steps)

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
    rows = experiment.read_rows(self.folder)
    return rows[-1]['step'] if rows else 0

  @property
  def reason(self):
    """The last line of its log."""
    lines = self.log.read_text().splitlines() if self.log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), 'no log')


def define_flags():
  """Defines the flags of the launchers."""
  flags.DEFINE_string('ray_address', 'auto', "the cluster's; see ray.init")
  flags.DEFINE_float('ray_cpus', 1, 'CPUs that a point asks of the cluster')
  flags.DEFINE_float('ray_gpus', 0, 'GPUs that a point asks of the cluster')
  flags.DEFINE_string(
    'ray_resources', '', "others that a point asks of one host: 'TPU=4'"
  )
  flags.DEFINE_string(
    'asha',
    '',
    'METRIC by which lagging points are stopped early; see ctxlm.lab.asha',
  )
  flags.DEFINE_enum('asha_mode', 'min', ('min', 'max'), 'which METRIC is best')
  flags.DEFINE_integer(
    'asha_reduction', 3, 'one of how many goes on', lower_bound=2
  )
  flags.DEFINE_integer('asha_least', 1, 'steps of every point', lower_bound=1)


def run(name, jobs, options):
  """Runs all jobs that aren't done; returns the names of those that failed.

  Args:
    name: 'local' or 'ray'.
    jobs: [Job].
    options: the flags.
  """
  halving = None
  if options.asha:
    halving = asha.Asha(
      options.asha,
      options.asha_mode == 'max',
      options.asha_reduction,
      options.asha_least,
    )
    for job in jobs:  # what a sweep that was killed had come to
      halving.lags(job.name, experiment.read_rows(job.folder), job.num_steps)
  else:
    for job in jobs:
      asha.go_on(job.folder)
  todo = [job for job in jobs if not job.done and not job.stopped]
  if jobs:
    (jobs[0].folder.parent / 'logs').mkdir(exist_ok=True)
  board = Board([job for job in jobs if not job.stopped])
  pool = Ray(options) if name == 'ray' else Local(options.jobs)
  failed, running = [], []
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of finally
  try:
    while todo or running:
      while todo and pool.has_room(len(running)):
        job = todo.pop(0)
        running.append((job, pool.start(job), time.monotonic()))
      time.sleep(POLL)
      for job, handle, begun in list(running):
        if pool.is_running(handle):
          at = None
          if halving and not job.stopped:
            rows = experiment.read_rows(job.folder)
            at = halving.lags(job.name, rows, job.num_steps)
          if at:
            asha.stop(job.folder, at[0], halving.metric, at[1])
            pool.stop(handle)
          continue
        running.remove((job, handle, begun))
        seconds = time.monotonic() - begun
        if job.done:
          board.say(f'done    {job.name}  {seconds:.0f} s')
          if halving:
            halving.check(experiment.read_rows(job.folder))
        elif job.stopped:
          board.drop(job)
          board.say(f'stopped {job.name}  {seconds:.0f} s, step {job.step}')
        else:
          board.drop(job)
          failed.append(job.name)
          board.say(f'FAILED  {job.name}: {job.reason}')
      board.show([job for job, _, _ in running])
  finally:
    pool.close([handle for _, handle, _ in running])
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


class Local:
  """Processes of this machine; each has its share of the cores."""

  def __init__(self, jobs):
    """Makes a server that forks processes which have imported everything."""
    self._jobs = jobs
    self._context = multiprocessing.get_context('forkserver')
    self._context.set_forkserver_preload(['ctxlm.commands.train'])

  def has_room(self, running):
    """Whether one more may start."""
    return running < self._jobs

  def start(self, job):
    """Starts a job."""
    threads = max((os.cpu_count() or 1) // self._jobs, 1)
    process = self._context.Process(
      target=_train, args=(job.argv, str(job.log), threads)
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


def _train(argv, log, threads):
  _die_with_parent()
  # Ctrl-C goes to all processes: the sweep asks each to save and end.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  with open(log, 'a') as file:
    os.dup2(file.fileno(), 2)
    os.dup2(file.fileno(), 1)
  # A process that a killed sweep left behind may not be gone yet.
  fcntl.flock(2, fcntl.LOCK_EX)
  os.environ['NPROC'] = str(threads)  # of XLA's CPU client
  sys.argv = argv  # ml_collections reads it
  cli.main(argv)


def _die_with_parent():
  parent = multiprocessing.parent_process().sentinel

  def watch():
    connection.wait([parent])
    os.kill(os.getpid(), signal.SIGKILL)

  threading.Thread(target=watch, daemon=True).start()


class Ray:
  """Tasks of a Ray cluster whose nodes share the sweep's folder.

  A task whose node is lost is tried again elsewhere, and goes on from the
  run's newest checkpoint.
  """

  def __init__(self, options):
    """Joins the cluster.

    Raises:
      UserError: Ray is not installed, or there is no cluster.
    """
    try:
      import ray
    except ImportError as e:
      raise UserError(
        "--launcher=ray needs ray: pip install 'ctxlm[ray]'"
      ) from e
    self._ray = ray
    try:
      ray.init(options.ray_address, log_to_driver=False, logging_level='ERROR')
    except (ConnectionError, RuntimeError, ValueError) as e:
      raise UserError(f'--ray_address {options.ray_address}: {e}') from e
    try:
      others = dict(
        (k, float(v))
        for k, _, v in (
          word.partition('=')
          for word in options.ray_resources.split(',')
          if word
        )
      )
    except ValueError as e:
      raise UserError(f'--ray_resources {options.ray_resources!r}: {e}') from e
    self._task = ray.remote(_ray_train).options(
      num_cpus=options.ray_cpus,
      num_gpus=options.ray_gpus,
      resources=others,
      max_retries=-1,
    )

  def has_room(self, running):
    """All are given to the cluster at once: it queues them."""
    return True

  def start(self, job):
    """Queues a job."""
    argv = [a for a in job.argv[1:]]
    argv[2] = f'--workdir={job.folder.resolve()}'
    return self._task.remote(argv, str(job.log.resolve()), os.getcwd())

  def is_running(self, task):
    """Whether it is queued or runs."""
    ready, _ = self._ray.wait([task], timeout=0)
    return not ready

  def stop(self, task):
    """Asks a job to save and end."""
    self._ray.cancel(task)

  def close(self, running):
    """Cancels what is left, and leaves the cluster."""
    for task in running:
      self.stop(task)
    if running:  # they save
      self._ray.wait(running, num_returns=len(running), timeout=60)
    self._ray.shutdown()


def _ray_train(argv, log, folder):
  # A process of its own: a task's process may have used jax before.
  import subprocess

  with open(log, 'a') as file:
    process = subprocess.Popen(
      [sys.executable, '-m', 'ctxlm', *argv],
      cwd=folder,
      stdout=file,
      stderr=file,
      preexec_fn=_kill_with_parent,
    )
    try:
      return process.wait()
    except KeyboardInterrupt:  # the task is cancelled: the run saves and ends
      process.terminate()
      return process.wait()


def _kill_with_parent():
  import ctypes

  ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux
