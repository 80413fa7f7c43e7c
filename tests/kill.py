"""The kill campaign: what is killed at any moment ends as if nothing had been.

`python -m tests.kill --kills=100 [--seed=0] [JOB ...]` starts each job's
command, kills it (SIGKILL) at a random moment, and gives the same command
again, until it has been killed often enough and is let go to its end. Then its
files are held, bit for bit, against those of a run that was never killed, and
nothing else may be left. Half of the kills come a moment after a temporary
file or folder has appeared, so that they hit saves and renames.
"""

import argparse
import collections
import dataclasses
import fnmatch
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import tiny

SECONDS = 300  # a command that takes longer hangs
TEMPORARY = ('*.new', '*orbax-checkpoint-tmp*', '*__lock')


@dataclasses.dataclass(frozen=True)
class Job:
  """A command, and what it must come to.

  Attributes:
    share: of the kills, relative to the other jobs'.
    argv: function of the folder that it writes in to the command's words
      after `ctxlm`.
    compare: function of two such folders, the one of a run that was never
      killed first; raises AssertionError.
    outputs: names of all that is written, where the command refuses to begin
      once they are there: a kill may come after its last rename.
  """

  share: int
  argv: Callable
  compare: Callable
  outputs: tuple = ()


def train(*flags):
  """Returns the argv of a training that saves and judges every few steps."""

  def argv(folder):
    return tiny.command(
      folder / 'run',
      'config.num_steps=150',
      'config.checkpoint.every_steps=3',
      'config.checkpoint.best=eval/half/loss',
      'config.optimizer.ema_decay=0.9',
      *flags,
      name='judged',
    )[3:]

  return argv


def same_run(a, b):
  """Two run folders hold the same, but for what tells time."""
  assert names(a) == names(b), (names(a), names(b))
  for name in names(a):
    if name.suffix == '.json' and 'checkpoints' not in name.parts:
      assert (a / name).read_bytes() == (b / name).read_bytes(), name
  assert tiny.metrics(a) == tiny.metrics(b)
  steps = [row['step'] for row in tiny.metrics(a)]
  assert steps == sorted(steps)
  for path in (a / 'checkpoints').iterdir():
    x, y = (tiny.state(folder, path.name) for folder in (a, b))
    assert x.keys() == y.keys() and any('params' in k for k in x)
    for key in x:
      assert x[key].tobytes() == y[key].tobytes(), (path.name, key)


def names(folder):
  """Returns the files of a run folder, but for Orbax's own within a step."""
  found = {p.relative_to(folder) for p in folder.rglob('*')}
  return sorted(n for n in found if len(n.parts) < 3)


def same_runs(a, b):
  """Two sweeps' folders hold the same runs."""
  assert names(a / 'sweep')
  for path in (a / 'sweep').iterdir():
    if (path / 'config.json').exists():
      same_run(path, b / 'sweep' / path.name)
  plans = (f / 'sweep' / 'sweep.json' for f in (a, b))
  assert len({plan.read_bytes() for plan in plans}) == 1


def same_files(a, b):
  """Two folders hold the same files."""
  paths = [sorted(p.relative_to(f) for p in f.rglob('*')) for f in (a, b)]
  assert paths[0] == paths[1], paths
  for path in paths[0]:
    if (a / path).is_file():
      assert (a / path).read_bytes() == (b / path).read_bytes(), path


def jobs(folders):
  """Returns {name: Job}.

  Args:
    folders: {'run', 'mlm', 'text', 'prompts': path}, see `make_folders`.
  """
  run, mlm = folders['run'], folders['mlm']
  generate = ('generate', f'--model={run}', f'--input={folders["prompts"]}')
  generate += ('--max_new_tokens=24', '--batch_size=2', '--seed=3')
  embed = ('embed', f'--model={mlm}', f'--input={folders["text"]}')
  convert = 'convert', f'--from={run}'
  sweep = ('sweep', 'tests/toy.py', '--seeds=1', '--jobs=2')
  sweep += ('--config.num_steps=400', '--config.checkpoint.every_steps=7')

  def runs(a, b):
    same_run(a / 'run', b / 'run')

  return {
    'train': Job(5, train(), runs),
    'train, workers': Job(4, train('config.num_workers=2'), runs),
    'sweep': Job(3, lambda f: (*sweep, f'--workdir={f / "sweep"}'), same_runs),
    'generate': Job(
      3, lambda f: (*generate, f'--output={f / "out.jsonl"}'), same_files
    ),
    'embed': Job(
      2,
      lambda f: (*embed, '--pooling=mean', f'--output={f / "out.npy"}'),
      same_files,
    ),
    'convert': Job(
      3,
      lambda f: (*convert, f'--to={f / "model"}', f'--to-hf={f / "hf"}'),
      same_files,
      ('model', 'hf'),
    ),
  }


def temporary(folder):
  """Returns what is on its way to another name, or locked."""
  return {
    Path(top) / name
    for top, *below in os.walk(folder)  # which a folder may leave meanwhile
    for names in below
    for name in names
    if any(fnmatch.fnmatch(name, pattern) for pattern in TEMPORARY)
  }


def start(job, folder, errors):
  """Starts the job's command; returns the process."""
  argv = [sys.executable, '-m', 'ctxlm', *map(str, job.argv(folder))]
  if argv[3] == 'sweep':  # it forks processes of its own
    return tiny.start(argv, errors=errors)
  return tiny.fork(argv, 1, errors)


def kill_once(job, folder, errors, rng, seconds):
  """Starts the command, and kills it.

  Args:
    job: Job.
    folder: that it writes in.
    errors: file of its standard error.
    rng: numpy Generator, which chooses the moment.
    seconds: within which it is killed.

  Returns:
    the seconds that it took, if it came to its end before; None if not.
  """
  left, process = temporary(folder), start(job, folder, errors)
  in_a_save, begun = rng.random() < 0.5, time.monotonic()
  until = begun + rng.uniform(0, seconds)
  while tiny.running(process) and time.monotonic() < until:
    if in_a_save and temporary(folder) - left:
      time.sleep(rng.choice([0.0, 0.0, rng.uniform(0, 0.03)]))
      break
    time.sleep(0.001)
  took = None if tiny.running(process) else time.monotonic() - begun
  process.kill()
  status = tiny.ended(process)
  assert took is None or not status, f'exit {status}: {errors.read_text()}'
  return took


def finish(job, folder, errors):
  """Lets the command come to its end; raises AssertionError if it fails."""
  process = start(job, folder, errors)
  begun = time.monotonic()
  while tiny.running(process):
    if time.monotonic() - begun > SECONDS:
      process.kill()
      raise AssertionError(f'it hangs: {errors.read_text()}')
    time.sleep(0.01)
  status = tiny.ended(process)
  assert not status, f'exit {status}: {errors.read_text()}'


def campaign(job, kills, tmp, rng, say):
  """Kills a job so many times; returns counts of what was seen.

  Args:
    job: Job.
    kills: how many.
    tmp: pathlib.Path of a fresh folder.
    rng: numpy Generator.
    say: function that shows how many kills there were.

  Raises:
    AssertionError: something is lost, left or different.
  """
  whole, cut, errors = tmp / 'whole', tmp / 'cut', tmp / 'errors'
  for folder in (whole, cut):
    folder.mkdir()
  begun, done = time.monotonic(), collections.Counter()
  finish(job, whole, errors)
  seconds = time.monotonic() - begun  # more than later, as it compiles
  while done['kills'] < kills:
    took = kill_once(job, cut, errors, rng, seconds)
    if took is None:
      done['kills'] += 1
      done['in a save'] += bool(temporary(cut))
      say(done)
      over = job.outputs and all((cut / o).exists() for o in job.outputs)
      if done['kills'] < kills and not over:
        continue
      if not over:
        finish(job, cut, errors)
    else:
      seconds = min(seconds, 0.9 * took)
    judge(job, whole, cut)
    done['rounds'] += 1
    shutil.rmtree(cut)
    cut.mkdir()
  return done


def judge(job, whole, cut):
  """Raises AssertionError unless `cut` is as `whole`, and nothing is left."""
  left = temporary(cut) | set(cut.rglob('*.lock'))
  assert not left, f'left: {left}'
  end = time.monotonic() + 10  # of workers whose parent was killed
  while left := orphans():
    assert time.monotonic() < end, f'processes are left: {left}'
    time.sleep(0.1)
  job.compare(whole, cut)


def orphans():
  """Returns {number: command} of this campaign's processes without a parent."""
  own, found = f'CTXLM_CACHE={os.environ["CTXLM_CACHE"]}'.encode(), {}
  for path in Path('/proc').glob('[0-9]*'):
    try:
      parent = (path / 'stat').read_text().rpartition(')')[2].split()[1]
      if parent == '1' and own in (path / 'environ').read_bytes().split(b'\0'):
        found[path.name] = (path / 'cmdline').read_text().replace('\0', ' ')
    except OSError:  # it is gone, or another's
      continue
  return found


def make_folders(tmp):
  """Makes what the jobs read; returns {word: path}."""
  text = tiny.write_text(tmp / 'text.txt')
  os.environ['TINY_TEXT'] = str(text)
  os.environ['CTXLM_CACHE'] = str(tmp / 'cache')
  folders = {'text': text, 'prompts': tmp / 'prompts.jsonl'}
  rows = ({'prompt': 'the cat ' * (1 + i % 3), 'id': i} for i in range(60))
  lines = (json.dumps(row) + '\n' for row in rows)
  folders['prompts'].write_text(''.join(lines))
  for word, recipe in (('run', 'causal'), ('mlm', 'mlm')):
    folders[word] = tmp / word
    argv = tiny.command(folders[word], 'config.num_steps=4', name=recipe)
    process = tiny.fork(argv, 1, tmp / 'errors')
    process.join()
    assert process.exitcode == 0, (tmp / 'errors').read_text()
  return folders


def main():
  """Entry point; returns how many jobs failed."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('jobs', nargs='*')
  args = parser.parse_args()
  begun, failed, total = time.monotonic(), [], collections.Counter()
  logging.getLogger('absl').setLevel(logging.ERROR)  # of Orbax
  with tempfile.TemporaryDirectory(prefix='ctxlm_kill_') as tmp:
    tmp = Path(tmp)
    chosen = jobs(make_folders(tmp))
    chosen = {n: j for n, j in chosen.items() if n in (args.jobs or chosen)}
    shares = np.array([job.share for job in chosen.values()])
    ends = np.round(np.cumsum(shares) / shares.sum() * args.kills).astype(int)
    for i, (name, job) in enumerate(chosen.items()):
      kills = int(np.diff(ends, prepend=0)[i])
      own = tmp / f'job{i}'
      own.mkdir()
      rng = np.random.default_rng([args.seed, i])

      def say(done, name=name, kills=kills):
        minutes = (time.monotonic() - begun) / 60
        text = f'{name}: {done["kills"]} of {kills} kills'
        print(f'{minutes:5.1f} min  {text}', flush=True)

      try:
        done = campaign(job, kills, own, rng, say)
      except AssertionError as e:
        failed.append(name)
        print(f'FAILED {name}: {e}', flush=True)
        keep = Path(tempfile.mkdtemp(prefix='ctxlm_killed_'))
        print(f'kept in {shutil.copytree(own, keep / "job")}')
        continue
      total += done
      what = ', '.join(f'{count} {word}' for word, count in done.items())
      print(f'ok     {name}: {what}', flush=True)
  what = ', '.join(f'{count} {word}' for word, count in total.items())
  print(f'{what}; {len(failed)} jobs failed')
  return len(failed)


if __name__ == '__main__':
  sys.exit(main())
