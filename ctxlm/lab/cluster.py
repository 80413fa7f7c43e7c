"""Points as tasks of a Ray cluster."""

import ctypes
import os
import signal
import subprocess
import sys

from ctxlm import ranges
from ctxlm.errors import UserError


def resources_of(text):
  """Returns {name: count} of 'NAME=COUNT,...'.

  Raises:
    UserError: it has another form.
  """
  words = [word.partition('=') for word in text.split(',') if word]
  try:
    found = {name: float(count) for name, _, count in words}
  except ValueError:
    found = {'': 0.0}
  counts = ranges.Range('[0, inf)')
  if not all(name and counts.holds(count) for name, count in found.items()):
    raise UserError(
      f"--ray_resources {text!r}: say NAME=COUNT,..., such as 'TPU=4,host=1'"
    )
  return found


class Ray:
  """Tasks of a Ray cluster whose nodes share the sweep's folder.

  A task whose node is lost is tried again elsewhere, and goes on from the
  run's newest checkpoint.
  """

  def __init__(self, address='auto', cpus=1, gpus=0, resources='', jobs=None):
    """Joins the cluster.

    Args:
      address: of the cluster; see ray.init.
      cpus, gpus: that a point asks of one host.
      resources: others that it asks for, such as 'TPU=4,host=1'.
      jobs: how many are given to the cluster at once; None is all.

    Raises:
      UserError: Ray is not installed, there is no cluster, or `resources` has
        another form.
    """
    others = resources_of(resources)
    try:
      import ray
    except ImportError as e:
      raise UserError(
        "--launcher=ray needs ray: pip install 'ctxlm[ray]'"
      ) from e
    self._ray, self._jobs = ray, jobs
    try:
      ray.init(address, log_to_driver=False, logging_level='ERROR')
    except (ConnectionError, RuntimeError, ValueError) as e:
      raise UserError(f'--ray_address {address}: {e}') from e
    self._task = ray.remote(_train).options(
      num_cpus=cpus, num_gpus=gpus, resources=others, max_retries=-1
    )

  def has_room(self, running):
    """Whether one more is given to the cluster, which queues what it has."""
    return self._jobs is None or running < self._jobs

  def start(self, job):
    """Queues a job."""
    return self._task.remote(job.argv[1:], str(job.log.resolve()), os.getcwd())

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


def _train(argv, log, folder):
  # A process of its own: a task's process may have used jax before.
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
  ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux
