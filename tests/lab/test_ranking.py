"""Points are ranked by what all of their seeds came to."""

import math

import pytest

from ctxlm.errors import UserError
from ctxlm.lab import ranking, results
from tests import toy

LOSS = ranking.Metric('eval/e/loss')


def point(rate, seed, value=None, **more):
  rows = [{'step': 5, 'eval/e/loss': 99.0}]
  rows += [{'step': 9, 'eval/e/loss': value}] if value is not None else []
  done = value is not None and not more
  overrides = {'optimizer.learning_rate': rate, 'seed': seed}
  return results.Point(f'{rate},{seed}', overrides, 9, rows, done, **more)


def rates(standings):
  return [s.overrides['optimizer.learning_rate'] for s in standings if s.ranked]


ALL = results.Results(
  [
    *(point(0.1, seed, value) for seed, value in enumerate((3.0, 1.0))),
    *(point(0.2, seed, value) for seed, value in enumerate((1.4, 1.6))),
    *(point(0.3, seed, value) for seed, value in enumerate((0.1, math.nan))),
    *(point(0.4, seed, value) for seed, value in enumerate((0.2, None))),
    point(0.5, 0, 0.1),
    point(0.5, 1, failed='not finite'),
    point(0.6, 0, 5.0, stopped={'step': 9, 'metric': 'm', 'value': 5.0}),
    point(0.6, 1, 6.0),
  ]
)


def test_the_best_mean_over_seeds_comes_first():
  standings = ranking.rank(ALL, LOSS)
  assert rates(standings) == [0.2, 0.1]
  assert standings[0].mean == 1.5 and standings[1].values == [3.0, 1.0]
  assert standings[0].half == pytest.approx(12.706 * 0.1, rel=1e-3)
  states = {s.overrides['optimizer.learning_rate']: s.state for s in standings}
  assert states == {
    0.1: '2 of 2 done',
    0.2: '2 of 2 done',
    0.3: 'not finite',
    0.4: '1 of 2 done',
    0.5: '1 of 2 done, 1 of 2 failed',
    0.6: '1 of 2 done, 1 of 2 stopped early',
  }
  greatest = ranking.rank(ALL, ranking.Metric('eval/e/loss', largest=True))
  assert rates(greatest) == [0.1, 0.2]


def test_a_search_is_told_the_smaller_the_better():
  def told(metric):
    return {
      s.overrides['optimizer.learning_rate']: ranking.outcome(s, metric)
      for s in ranking.rank(ALL, metric)
    }

  assert told(LOSS) == {
    0.1: (2.0, None),
    0.2: (1.5, None),
    0.3: (math.inf, None),
    0.4: (None, None),
    0.5: (math.inf, None),
    0.6: (5.5, 9),
  }
  greatest = told(ranking.Metric('eval/e/loss', largest=True))
  assert greatest[0.1] == (-2.0, None) and greatest[0.5] == (math.inf, None)


def test_the_summary_names_the_best_and_the_ends_of_what_was_tried():
  lines = ranking.summary(ranking.rank(ALL, LOSS), LOSS)
  assert lines[0].startswith('best of 2 points by eval/e/loss, the least (mean')
  assert lines[0].endswith(
    '; 1 failed, 1 stopped early, 1 not finite, 1 not done:'
  )
  assert lines[1].endswith('learning_rate=0.2')
  assert len(lines) == 3  # 0.2 is neither the smallest nor the largest
  assert '(mean ± 95 % interval of 2 seeds)' in lines[0]
  one = results.Results(
    [
      p
      for p in ALL.points
      if p.overrides['seed'] or p.overrides['optimizer.learning_rate'] != 0.1
    ]
  )
  assert (
    ' of 1 or 2 seeds)' in ranking.summary(ranking.rank(one, LOSS), LOSS)[0]
  )
  fewer = results.Results(
    [p for p in ALL.points if p.overrides['optimizer.learning_rate'] > 0.15]
  )
  assert ranking.summary(ranking.rank(fewer, LOSS), LOSS)[-1] == (
    'optimizer.learning_rate=0.2 is the smallest that was tried: smaller ones '
    'may be better'
  )
  other = ranking.Metric('eval/e/other')
  (line,) = ranking.summary(ranking.rank(ALL, other), other)
  assert line == 'no point is done in all its seeds with eval/e/other'


def test_which_metric():
  c = toy.get_config()
  metric, needs = ranking.choose(c, '')
  assert metric == ranking.Metric('eval/line/loss')
  assert needs['checkpoint.best'] == 'eval/line/loss'
  assert ranking.choose(c, 'eval/line/x:max')[0].largest
  c.evaluators.other = {'name': 'alignment'}
  del c.evaluators['line']
  # No evaluator gives a loss: the first task's is evaluated.
  metric, needs = ranking.choose(c, '')
  assert metric.name == 'eval/line/loss'
  assert needs['evaluators.line.name'] == 'losses'
  assert needs['evaluators.line.task'] == 'line'
  c.checkpoint.best, c.checkpoint.best_mode = 'eval/other/x', 'max'
  assert ranking.choose(c, '') == (ranking.Metric('eval/other/x', True), {})


@pytest.mark.parametrize(
  'text, wanted',
  [
    ('loss', '--metric loss: say NAME/METRIC'),
    ('line/loss:best', 'say NAME/METRIC'),
    ('lime/loss', "no evaluator, and no task, 'lime'. Did you mean 'line'?"),
  ],
)
def test_no_such_metric(text, wanted):
  with pytest.raises(UserError, match='--metric') as e:
    ranking.choose(toy.get_config(), text)
  assert wanted in str(e.value)
