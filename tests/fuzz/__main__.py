"""python -m tests.fuzz [--seconds=600] [--seed=N]."""

import argparse
import collections
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from ctxlm import cli
from tests import tiny
from tests.fuzz import worker

SHOWN = 5  # seconds between lines of progress


def main():
  """Runs cases; returns how many of them went wrong."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--seconds', type=float, default=30)
  parser.add_argument('--seed', type=int, help='one case, and what it answers')
  flags = parser.parse_args()
  context = multiprocessing.get_context('forkserver')
  preload = [f'ctxlm.commands.{v}' for v in cli.VERBS] + [worker.__name__]
  context.set_forkserver_preload(preload)
  with tempfile.TemporaryDirectory(prefix='ctxlm_fuzz_') as top:
    top = Path(top).resolve()
    process = context.Process(target=worker.make, args=(top,))
    process.start()
    process.join()
    if process.exitcode:
      return process.exitcode
    if flags.seed is not None:
      return _run(context, top, flags.seed, 0)
    first = int(time.time()) % 10**6 * 1000  # others each time
    return _run(context, top, first, flags.seconds)


def _run(context, top, seed, seconds):
  # Until the time is over, and one case at least.
  counts, process = collections.Counter(), None
  began = shown = time.monotonic()
  while time.monotonic() - began < seconds or not counts:
    if process is None:
      pipe, its = context.Pipe(duplex=False)
      process = context.Process(target=worker.work, args=(top, seed, its))
      process.start()
      its.close()
    what = 'a folder that is whole'
    try:
      what = pipe.recv()
      outcome, details = pipe.recv()
    except EOFError:
      process.join()
      hangs = -process.exitcode in (signal.SIGPROF, signal.SIGALRM)
      outcome = 'hang' if hangs else f'crash {process.exitcode}'
      details, process = (top / 'errors').read_text(errors='replace'), None
    counts[outcome] += 1
    if outcome not in worker.GOOD or not seconds:
      print(f'{outcome}: seed {seed}, {what}\n{details[-1500:]}', flush=True)
    seed += 1
    if time.monotonic() - shown > SHOWN:
      shown = time.monotonic()
      print(f'{shown - began:.0f} s: {_words(counts)}', flush=True)
  if process:
    process.kill()
    process.join()
  print(_words(counts))
  return counts.total() - sum(counts[outcome] for outcome in worker.GOOD)


def _words(counts):
  listed = ', '.join(f'{n} {outcome}' for outcome, n in counts.most_common())
  return f'{counts.total()} cases: {listed}'


if __name__ == '__main__':
  os.environ.update(tiny.environment())
  sys.exit(min(main(), 1))
