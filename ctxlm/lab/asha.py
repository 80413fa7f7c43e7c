"""Early stopping of a sweep's lagging runs: ASHA.

Li et al. 2020 (arXiv:1810.05934), asynchronous successive halving, in the form
that stops runs where the paper promotes them: at num_steps / reduction^k, for
k = 1, 2, ..., a run goes on only if it is among the best 1 / reduction of those
that have come as far.
"""

import dataclasses
import json
import math

from ctxlm.errors import UserError
from ctxlm.files import read_json, write_text
from ctxlm.plugins import suggest

NAME = 'stopped.json'  # in the folder of a run that was stopped


@dataclasses.dataclass
class Asha:
  """What the runs of a sweep have reached.

  Attributes:
    metric: that runs are ranked by, such as 'eval/perplexity/loss'.
    largest: whether the greatest is best.
    reduction: see above.
    least: steps that every run is given.
  """

  metric: str
  largest: bool = False
  reduction: int = 3
  least: int = 1

  def __post_init__(self):
    self._reached = {}  # {(rung, num_steps): {name: value}}

  def rungs(self, num_steps):
    """Returns the steps at which runs are compared, the first one first."""
    steps, step = [], num_steps // self.reduction
    while step >= max(self.least, 1):
      steps.append(step)
      step //= self.reduction
    return steps[::-1]

  def check(self, rows):
    """Looks for the metric in the rows of a run that is done.

    Raises:
      UserError: it isn't there, so that nothing would ever be stopped.
    """
    known = list(dict.fromkeys(m for row in rows for m in row if '/' in m))
    if self.metric not in known:
      raise UserError(
        f'--asha {self.metric}: the runs have no such metric.'
        + suggest(self.metric, known)
      )

  def lags(self, name, rows, num_steps):
    """Returns the (step, value) at which a run is to stop, or None.

    Args:
      name: of the run.
      rows: of its metrics.jsonl.
      num_steps: that it is to train.
    """
    values = [(r['step'], r[self.metric]) for r in rows if self.metric in r]
    for rung in self.rungs(num_steps):
      at = next(((s, v) for s, v in values if s >= rung), None)
      if at is None:
        return None
      reached = self._reached.setdefault((rung, num_steps), {})
      if name in reached:
        continue
      score = at[1] if self.largest else -at[1]
      # What is no number is the worst.
      reached[name] = score if math.isfinite(score) else -math.inf
      better = sum(x > reached[name] for x in reached.values())
      if better >= math.ceil(len(reached) / self.reduction):
        return at
    return None


def stop(folder, step, metric, value):
  """Notes in a run's folder that it was stopped."""
  note = {'step': step, 'metric': metric, 'value': value}
  write_text(folder / NAME, json.dumps(note) + '\n')


def is_stopped(folder):
  """Whether the run was stopped."""
  return (folder / NAME).exists()


def read(folder):
  """Returns the note, {'step', 'metric', 'value'}, or None.

  Raises:
    UserError: it is there, and can't be read.
  """
  if not is_stopped(folder):
    return None
  advice = 'remove it, and the same ctxlm sweep command goes on with the run'
  try:
    note = read_json(folder / NAME)
  except UserError as e:
    raise UserError(f'{e}: {advice}') from e
  if not {'step', 'metric', 'value'} <= set(note):
    raise UserError(f'{folder / NAME} lacks what stopped the run: {advice}')
  return note


def go_on(folder):
  """Takes the note back."""
  (folder / NAME).unlink(missing_ok=True)
