"""Which points of a sweep are best, by a metric of their last evaluation."""

import dataclasses
import math

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.lab import points as points_lib
from ctxlm.lab.space import is_number
from ctxlm.lab.tables import show
from ctxlm.lab.verdicts import interval

LOSSES = ('losses', 'perplexity')  # evaluators that give 'loss'
SHOWN = 3  # points that a sweep names at its end


@dataclasses.dataclass(frozen=True)
class Metric:
  """Attributes: name, 'eval/NAME/METRIC'; whether the greatest is best."""

  name: str
  largest: bool = False

  @property
  def mode(self):
    """Returns 'min' or 'max'."""
    return 'max' if self.largest else 'min'

  @property
  def words(self):
    """What it is, and which is best."""
    return f'{self.name}, the {"greatest" if self.largest else "least"}'


def choose(config, text, flag='--metric'):
  """Returns the Metric that a flag names, and what a recipe needs to have it.

  Args:
    config: of the recipe.
    text: 'NAME/METRIC', or that with ':min' or ':max', where NAME is an
      evaluator, or a task, whose losses are evaluated then; '' is what
      config.checkpoint.best says, else the loss of the first evaluator that
      gives one, else of the first task.
    flag: to name in a mistake.

  Returns:
    (Metric, {key: value}).

  Raises:
    UserError: no such evaluator, or another form.
  """
  evaluators, tasks = config.evaluators, config.tasks
  if not text and config.checkpoint.best:
    best, mode = config.checkpoint.best, config.checkpoint.best_mode
    return Metric(best, mode == 'max'), {}
  if not text:
    giving = [n for n, block in evaluators.items() if block.name in LOSSES]
    text = f'{(giving or list(tasks))[0]}/loss'
  path, _, mode = text.partition(':')
  name, _, metric = path.removeprefix('eval/').partition('/')
  if not name or not metric or mode not in ('', 'min', 'max'):
    raise UserError(
      f'{flag} {text}: say NAME/METRIC:min or NAME/METRIC:max, where NAME is '
      f'one of {", ".join([*evaluators, *tasks])}'
    )
  if name not in evaluators and name not in tasks:
    raise UserError(
      f'{flag} {text}: the recipe has no evaluator, and no task, {name!r}.'
      + plugins.suggest(name, [*evaluators, *tasks])
    )
  needs = {}
  if name not in evaluators:
    needs = {
      f'evaluators.{name}.name': 'losses',
      f'evaluators.{name}.task': name,
      f'evaluators.{name}.every_steps': max(config.num_steps // 8, 1),
    }
  found = Metric(f'eval/{name}/{metric}', mode == 'max')
  # Its name is then tried before a run begins, and its best step kept.
  needs |= {'checkpoint.best': found.name, 'checkpoint.best_mode': found.mode}
  return found, needs


@dataclasses.dataclass(frozen=True)
class Standing:
  """A point, with what its seeds came to.

  Attributes:
    overrides: {key: value}, without the seed.
    points: [results.Point], one a seed.
    values: the metric at the end of each seed that is done.
    mean, half: of the values, see verdicts.interval; nan of none.
    ranked: whether all seeds are done and have a finite value.
  """

  overrides: dict
  points: list
  values: list
  mean: float
  half: float
  ranked: bool

  @property
  def shown(self):
    """The mean with its interval, as text."""
    return show(self.mean, self.half) if self.values else ''

  @property
  def name(self):
    """The overrides, as text."""
    return words(self.overrides)

  @property
  def state(self):
    """How far the seeds are, as text."""
    n = len(self.points)
    counts = {
      'done': sum(p.done for p in self.points),
      'failed': sum(bool(p.failed) for p in self.points),
      'stopped early': sum(bool(p.stopped) for p in self.points),
    }
    if counts['done'] == n and not self.ranked:
      return 'not finite'
    words = [
      f'{count} of {n} {word}' for word, count in counts.items() if count
    ]
    return ', '.join(words) or f'0 of {n} done'


def words(overrides):
  """Returns overrides as text, 'learning_rate=0.1 num_layers=2'."""
  return points_lib.name_of(overrides).replace(',', ' ')


def rank(results, metric):
  """Returns [Standing], the best first; those that aren't ranked come last.

  Args:
    results: results.Results.
    metric: Metric.
  """
  standings = []
  for group in results.groups():
    ends = [p.curve(metric.name)[1] for p in group.points if p.done]
    values = [float(end[-1]) for end in ends if len(end)]
    mean, half = interval(values) if values else (math.nan, math.nan)
    ranked = len(values) == len(group.points) and math.isfinite(mean)
    standings.append(
      Standing(
        group.points[0].without_seed, group.points, values, mean, half, ranked
      )
    )

  def order(standing):
    sign = -1 if metric.largest else 1
    return not standing.ranked, sign * standing.mean if standing.ranked else 0

  return sorted(standings, key=order)


def edges(standings):
  """Returns a line for each key whose best value is the last one tried.

  Args:
    standings: of `rank`.
  """
  lines = []
  for key, best in standings[0].overrides.items():
    tried = [s.overrides[key] for s in standings]
    if len(set(map(str, tried))) < 3 or not all(map(is_number, tried)):
      continue
    for word, other, end in (
      ('smallest', 'smaller', min(tried)),
      ('largest', 'larger', max(tried)),
    ):
      if best == end:
        lines.append(
          f'{key}={best} is the {word} that was tried: {other} ones may be '
          'better'
        )
  return lines


def summary(standings, metric):
  """Returns lines that name the best points, or say that there is none.

  Args:
    standings: of `rank`.
    metric: Metric.
  """
  ranked = [s for s in standings if s.ranked]
  if not ranked:
    return [f'no point is done in all its seeds with {metric.name}']
  counts = sorted({len(s.points) for s in ranked})
  seeds = ' or '.join(map(str, counts))
  over = f'mean ± 95 % interval of {seeds} seeds' if counts != [1] else '1 seed'
  points = f'{len(ranked)} point' + 's' * (len(ranked) > 1)
  lines = [f'best of {points} by {metric.words} ({over}){_left(standings)}:']
  width = max(len(s.shown) for s in ranked[:SHOWN])
  lines += [f'  {s.shown:>{width}}  {s.name}' for s in ranked[:SHOWN]]
  return lines + edges(standings)


def _left(standings):
  # Why points are not ranked, as text.
  counts = {'failed': 0, 'stopped early': 0, 'not finite': 0, 'not done': 0}
  for standing in standings:
    points = standing.points
    if standing.ranked:
      continue
    if any(p.failed for p in points):
      counts['failed'] += 1
    elif any(p.stopped for p in points):
      counts['stopped early'] += 1
    else:
      counts['not finite' if all(p.done for p in points) else 'not done'] += 1
  said = [f'{count} {word}' for word, count in counts.items() if count]
  return f'; {", ".join(said)}' if said else ''


def outcome(standing, metric):
  """Returns (value, step) of a Standing for a search; see search.Trial.

  Args:
    standing: Standing.
    metric: Metric.
  """
  sign = -1 if metric.largest else 1
  if any(p.failed for p in standing.points):
    return math.inf, None
  if all(p.done for p in standing.points):
    return sign * standing.mean if standing.ranked else math.inf, None
  if all(p.done or p.stopped for p in standing.points):
    ends = [p.curve(metric.name)[1] for p in standing.points]
    ends = [end[-1] for end in ends if len(end)]
    value = sign * sum(ends) / len(ends) if ends else math.inf
    step = min(p.stopped['step'] for p in standing.points if p.stopped)
    return float(value), step
  return None, None
