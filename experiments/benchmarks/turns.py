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


def draw(labels, rows, unit, title, path):
  """Writes a bar plot: every contender's speed in every case.

  Args:
    labels: of the cases.
    rows: {contender: speed}, one mapping a case.
    unit: of the speeds.
    title: of the picture.
    path: of the PNG.
  """
  import matplotlib

  matplotlib.use('Agg')
  import matplotlib.pyplot as plt

  names = list(dict.fromkeys(name for row in rows for name in row))
  figure, axes = plt.subplots(figsize=(9, 4), layout='constrained')
  for i, name in enumerate(names):
    places = [k for k, row in enumerate(rows) if name in row]
    bars = axes.bar(
      [k + (i - (len(names) - 1) / 2) * 0.8 / len(names) for k in places],
      [rows[k][name] for k in places],
      0.8 / len(names),
      label=name,
    )
    axes.bar_label(bars, fmt='%.0f', fontsize=6)
  axes.set_xticks(range(len(labels)), labels)
  axes.set_ylabel(unit)
  axes.set_title(title, fontsize=9)
  axes.legend(fontsize=8)
  figure.savefig(path, dpi=150)
  plt.close(figure)
