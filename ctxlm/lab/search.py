"""Bayesian search by Optuna: where to try next, given what was tried.

Bergstra et al. 2011, tree-structured Parzen estimators. No state is kept: a
proposal is a function of the points so far, so that a sweep that goes on
proposes what it would have proposed.
"""

import dataclasses
from typing import Any

from ctxlm.errors import UserError
from ctxlm.lab import space as space_lib

TURNS = 10  # at proposing what was not tried
FIRST = 5  # points that are spread, before there is anything to go by
RUNNING = None


@dataclasses.dataclass(frozen=True)
class Trial:
  """A point that was tried.

  Attributes:
    overrides: {key: value}.
    value: float, the smaller the better; math.inf of one that failed; None of
      one that is still running.
    stopped: the step at which it was stopped early, or None.
  """

  overrides: dict
  value: Any = RUNNING
  stopped: int | None = None


def check():
  """Raises UserError if Optuna isn't installed."""
  try:
    import optuna  # noqa: F401
  except ImportError as e:
    raise UserError(
      "--search=bayes needs optuna: pip install 'ctxlm[search]'"
    ) from e


def propose(space, trials):
  """Returns the overrides of the next point, or None if there is none left.

  Args:
    space: {key: space.Choice or space.Range}.
    trials: [Trial] so far, in the order in which they were begun.
  """
  import optuna
  from optuna.trial import TrialState, create_trial

  optuna.logging.set_verbosity(optuna.logging.ERROR)
  keys = {key: _distribution(part) for key, part in space.items()}
  tried = [trial.overrides for trial in trials]

  def spread(count):
    points = space_lib.draw(space, count)
    return next((point for point in points if point not in tried), None)

  if len(trials) < FIRST and (point := spread(FIRST)):
    return point
  for turn in range(TURNS):
    sampler = optuna.samplers.TPESampler(
      n_startup_trials=1,
      constant_liar=True,  # those that run count as bad, not to try them again
      seed=len(trials) + 1000 * turn,
    )
    study = optuna.create_study(sampler=sampler)
    for trial in trials:
      if not all(part.holds(trial.overrides[k]) for k, part in space.items()):
        continue  # of an earlier sweep of the folder, over other values
      state, early = TrialState.COMPLETE, {}
      if trial.value is RUNNING:
        state = TrialState.RUNNING
      elif trial.stopped is not None:
        state, early = TrialState.PRUNED, {trial.stopped: trial.value}
      study.add_trial(
        create_trial(
          state=state,
          params={k: _index(space[k], trial.overrides[k]) for k in space},
          distributions=keys,
          value=trial.value if state == TrialState.COMPLETE else None,
          intermediate_values=early,
        )
      )
    drawn = study.ask(keys).params
    point = {
      key: part.values[drawn[key]]
      if isinstance(part, space_lib.Choice)
      else part.near(drawn[key])
      for key, part in space.items()
    }
    if point not in tried:
      return point
  return spread(len(trials) + 1)  # it would repeat the best of few


def _distribution(part):
  from optuna import distributions

  if isinstance(part, space_lib.Choice):
    return distributions.CategoricalDistribution(range(len(part.values)))
  kind = (
    distributions.IntDistribution
    if part.whole
    else distributions.FloatDistribution
  )
  return kind(part.low, part.high, log=part.log)


def _index(part, value):
  # Optuna's choices are plain values; ours may be tuples.
  choice = isinstance(part, space_lib.Choice)
  return part.values.index(value) if choice else value
