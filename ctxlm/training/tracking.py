"""Where metrics go: `metrics.jsonl` always, TensorBoard and W&B if asked."""

import contextlib
import json
import os
import re
import secrets
import sys
import time

import jax
from tqdm import tqdm

from ctxlm import files
from ctxlm.errors import UserError, naming, note

METRICS = 'metrics.jsonl'
PACKAGES = {'tensorboard': 'tensorboardX', 'wandb': 'wandb'}


def check(config):
  """Raises UserError if what config.tracking asks for isn't installed."""
  for name, module in PACKAGES.items():
    if config.tracking[name]:
      _import(module, name)


def read(workdir):
  """Returns the rows of metrics.jsonl, [{'step': int, metric: number}].

  The last line may be one that is being written, or was when its run was
  killed: it is left out. So is any other that can't be read, with a note.

  Args:
    workdir: pathlib.Path of a run folder; without the file it has no rows.
  """
  path, rows = workdir / METRICS, []
  lines = path.read_bytes().split(b'\n') if path.exists() else []
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
      if not isinstance(row['step'], int) or not all(
        isinstance(value, (int, float)) for value in row.values()
      ):
        raise TypeError
      rows.append(row)
    except (ValueError, KeyError, TypeError, RecursionError):
      if number < len(lines):
        note(f'{path}, line {number} can not be read: it is left out')
  return rows


def untimed(row):
  """Returns a row of `read` without what no two runs have the same.

  >>> untimed({'step': 1, 'train/loss': 5.0, 'machine/mfu': 0.4})
  {'step': 1, 'train/loss': 5.0}
  """
  return {
    name: value
    for name, value in row.items()
    if name != 'train/tokens_per_second' and not name.startswith('machine/')
  }


class Tracker:
  """Writes metrics; only the first process writes."""

  def __init__(self, workdir, config, last_step):
    """Opens the run's logs, forgetting what came after `last_step`.

    A run that was killed may have logged steps that its newest checkpoint
    doesn't hold; those lines are dropped, since the steps are run again.
    """
    self._file = self._board = self._wandb = None
    self._folder, self._signatures = workdir, {}
    if jax.process_index():
      return
    self._path = workdir / METRICS
    kept = [json.dumps(r) for r in read(workdir) if r['step'] <= last_step]
    files.write_text(self._path, ''.join(line + '\n' for line in kept))
    self._file = self._path.open('a')
    if config.tracking.tensorboard:
      _import(PACKAGES['tensorboard'], 'tensorboard')
      self._board = _Board(workdir / 'tensorboard', last_step + 1)
    if config.tracking.wandb:
      wandb = _import('wandb', 'wandb')
      self._wandb = wandb.init(
        project=config.tracking.wandb_project,
        dir=str(workdir),
        id=_wandb_id(workdir),
        name=workdir.resolve().name,
        resume='allow',
        mode=os.environ.get('WANDB_MODE', 'offline'),
        config=config.to_dict(),
      )

  def write(self, step, metrics):
    """Appends one line: {"step": step, metric: number, ...}."""
    metrics = {k: float(v) for k, v in metrics.items()}
    if self._file:
      with naming(self._path):
        self._path.stat()  # what is written to a file that is gone, is too
        self._file.write(json.dumps({'step': step, **metrics}) + '\n')
        self._file.flush()
    if self._board:
      self._board.write(step, metrics)
    if self._wandb:
      self._wandb.log(metrics, step=step)

  def sign(self, signatures):
    """Writes how metrics are computed to signatures.json, where that is new.

    Args:
      signatures: {metric: text}.

    Returns:
      those that are new.
    """
    known, self._signatures = self._signatures, dict(signatures)
    new = {k: v for k, v in signatures.items() if known.get(k) != v}
    if new and self._file:
      text = json.dumps(signatures, indent=2) + '\n'
      files.write_text(self._folder / 'signatures.json', text)
    return new

  def close(self):
    """Flushes and closes everything."""
    for log in (self._file, self._board):
      if log:
        log.close()
    if self._wandb:
      self._wandb.finish()


class _Board:
  """A file of TensorBoard's events.

  Its own writer has a thread, which ends when the disk is full; the run then
  waits for it for ever.
  """

  def __init__(self, folder, first_step):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2, summary_pb2

    self._folder = folder
    self._event = event_pb2.Event
    self._summary = summary_pb2.Summary
    log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    with naming(folder):
      folder.mkdir(exist_ok=True)
      self._file = EventsWriter(str(folder / 'events'), f'.{os.getpid()}')
    # What is of this step or later is hidden.
    self._put(step=first_step, session_log=log)

  def _put(self, **event):
    with naming(self._folder):
      self._file.write_event(self._event(wall_time=time.time(), **event))
      self._file.flush()

  def write(self, step, metrics):
    """Writes {metric: number} of a step."""
    values = [
      self._summary.Value(tag=name, simple_value=value)
      for name, value in metrics.items()
    ]
    self._put(step=step, summary=self._summary(value=values))

  def close(self):
    """Closes the file."""
    self._file.close()


def _wandb_id(workdir):
  # Of the folder, wherever it is moved: others may have the same name.
  path = workdir / 'wandb_id'
  found = path.read_text(errors='replace') if path.exists() else ''
  if not re.fullmatch(r'[0-9a-f]{16}\n', found):
    found = secrets.token_hex(8) + '\n'
    files.write_text(path, found)
  return found.strip()


def _import(module, extra):
  try:
    return __import__(module)
  except ImportError as e:
    raise UserError(
      f"config.tracking needs {module}: pip install 'ctxlm[{extra}]'"
    ) from e


def with_intervals(metrics, form):
  """Returns {metric: text}, with the interval behind what it is of.

  >>> with_intervals({'f1': 0.5, 'f1_low': 0.25, 'f1_high': 1}, '.2f')
  {'f1': '0.50 (0.25 to 1.00)'}
  """
  told, ends = {}, ('_low', '_high')
  for name, value in metrics.items():
    low, high = (metrics.get(name + end) for end in ends)
    if None not in (low, high):
      told[name] = f'{value:{form}} ({low:{form}} to {high:{form}})'
    elif not any(name.removesuffix(end) in told for end in ends):
      told[name] = f'{value:{form}}'
  return told


class Progress:
  """A bar on a terminal, plain lines in a log; the first process shows it.

  The bar says that it is compiling until the first step is done, which counts
  for no rate of it.
  """

  def __init__(self, total, start, unit='step'):
    self._show = jax.process_index() == 0
    self._total, self._unit = total, unit
    self._bar, self._compiling = None, start < total
    if self._show and sys.stderr.isatty():
      self._bar = tqdm(
        total=total, initial=start, unit=unit, dynamic_ncols=True
      )
      if self._compiling:
        self._bar.set_postfix_str('compiling')

  def advance(self, step):
    """Moves the bar to `step`."""
    if self._bar is not None:
      first, self._compiling = self._compiling, False
      if first:
        self._bar.initial = step
        self._bar.unpause()
        if self._bar.postfix == 'compiling':
          self._bar.set_postfix_str('', refresh=False)
      self._bar.update(step - self._bar.n)
      if first:
        self._bar.refresh()

  def show(self, step, text, left):
    """Shows `text` at `step`; `left` is the seconds to go."""
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
    elif self._show:
      left = tqdm.format_interval(left)
      print(
        f'{self._unit} {step}/{self._total}  {text}  {left} left',
        file=sys.stderr,
        flush=True,
      )

  def say(self, text):
    """Prints a line that stays."""
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    elif self._show:
      print(text, file=sys.stderr, flush=True)

  def close(self):
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()


class Clock:
  """Tells how fast steps are; pauses don't count."""

  def __init__(self, start):
    self._start, self._tokens = start, 0
    self._begun = self._lap = time.monotonic()

  def count(self, tokens):
    """Counts tokens that were learned from."""
    self._tokens += tokens

  @contextlib.contextmanager
  def paused(self):
    """Stops the clock within a `with` block."""
    at = time.monotonic()
    yield
    self._lap += time.monotonic() - at

  def lap(self, done, total):
    """Returns (tokens a second since the last lap, seconds left to `total`)."""
    now = time.monotonic()
    rate = self._tokens / max(now - self._lap, 1e-9)
    left = (now - self._begun) / (done - self._start) * (total - done)
    self._tokens, self._lap = 0, now
    return rate, left
