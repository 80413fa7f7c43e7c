"""Timing contenders side by side, in turn, in one process."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path


def measure(contenders, repeats, untimed=0):
  """Returns {name: milliseconds [repeats]}.

  The contenders take turns, call by call, so that a busy moment of the
  machine is shared.

  Args:
    contenders: {name: function(i)} that returns when call i's work is done.
    repeats: timed calls of each.
    untimed: calls in each turn before the timed one, for contenders that take
      memory which the one before gave back: it has to be cleared again, which
      is no part of a step where steps follow each other.
  """
  times = {name: [] for name in contenders}
  for i in range(repeats):
    for name, call in contenders.items():
      for _ in range(untimed):
        call(i)
      start = time.perf_counter()
      call(i)
      times[name].append(1e3 * (time.perf_counter() - start))
  return times


def cores():
  """Returns the number of cores that this process may use."""
  return len(os.sched_getaffinity(0))


def machine(*packages):
  """Returns a line: the processor, its cores, and the packages' versions."""
  name = platform.processor() or platform.machine()
  path = Path('/proc/cpuinfo')
  if path.exists():
    lines = [x for x in path.read_text().splitlines() if 'model name' in x]
    name = lines[0].split(':')[1].strip() if lines else name
  versions = (f'{p} {importlib.metadata.version(p)}' for p in packages)
  return f'{name}, {cores()} cores; {", ".join(versions)}'


def speeds(times, count):
  """Returns {name: how many a second, [repeats]}.

  Args:
    times: {name: seconds [repeats]}.
    count: how many a call has, such as tokens.
  """
  return {name: [count / t for t in own] for name, own in times.items()}
