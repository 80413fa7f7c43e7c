"""When a run saves and is judged."""

import pytest

from ctxlm import config
from ctxlm.training import cadence


@pytest.mark.parametrize('best', ['', 'eval/a/loss', 'eval/b/loss'])
def test_what_may_be_the_best_is_saved_when_it_is_judged(best):
  c = config.base()
  c.num_steps = 23
  c.log_every_steps = 10
  c.checkpoint.every_steps = 4
  c.checkpoint.best = best
  c.evaluators.a = {'name': 'losses', 'every_steps': 3}
  c.evaluators.b = {'name': 'losses'}  # at the end
  done, saved, judged = 0, [], []
  while done < c.num_steps:
    done = cadence.next_stop(c, done)
    due = cadence.Due.at(c, done)
    saved += [done] * due.save
    judged += [done] * ('a' in due.evaluators)
  threes = [3, 6, 9, 12, 15, 18, 21]
  assert judged == [*threes, 23]
  want = {4, 8, 12, 16, 20, 23} | set(threes if best == 'eval/a/loss' else [])
  assert saved == sorted(want)
