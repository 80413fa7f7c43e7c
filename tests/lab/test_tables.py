"""Tables of points, and JSON that others read."""

import math

from ctxlm.lab import page, results, tables


def test_table_groups_seeds_and_orders_places():
  points = [
    results.Point(
      f'a={a},seed={seed}',
      {'a': a, 'seed': seed},
      9,
      [{'step': 9, 'eval/e/x_10': 1.0 + seed, 'eval/e/x_9': float(a)}],
      seed == 0,
    )
    for a in (3, 4)
    for seed in (0, 1)
  ]
  text = tables.seeds_table(results.Results(points)).markdown().splitlines()
  assert text[0] == '|  | a=3 | a=4 |'
  assert text[2:5] == [
    '| steps | 9 | 9 |',
    '| seeds done | 1 of 2 | 1 of 2 |',
    '| x_9 | 3 | 4 |',
  ]
  assert text[5].startswith('| x_10 | 1.5 ')


def test_a_claims_figures_say_what_each_is_for():
  def figure(**more):
    return {'what': 'a', 'mean': 1.0, 'interval': 0.25} | more

  parts = ('wanted', 'learned', 'sound', 'effect')
  row = {
    'claim': 'c',
    'source': 's',
    'paper': 'p',
    'criterion': 'k',
    'verdict': 'reproduced',
    'seeds': [3, 4],
    'ours': [*(figure(part=part, said='so') for part in parts), figure()],
  }
  (found,) = tables.claims_table([row]).rows
  assert found[:3] == [
    page.Cell('reproduced (n = 2)', strong=True),
    'c (s)',
    'p',
  ]
  assert found[3].splitlines() == [
    'a: 1.00 ± 0.25 (so)',
    'learned: a: 1.00 ± 0.25 (so)',
    'no leak: a: 1.00 ± 0.25 (so)',
    'effect: a: 1.00 ± 0.25 (so)',
    'a: 1.00 ± 0.25',
  ]
  assert tables.figures(row, ('wanted',)) == found[3].splitlines()[:1]
  for change in ({'verdict': 'not judged: smoke'}, {'ours': []}):
    assert tables.verdict(row | change) == (row | change)['verdict']


def test_runs_are_links():
  points = [
    results.Point(name, {'seed': seed}, 9, rows, False)
    for name, seed, rows in (('b', 0, []), ('a', 1, [{'step': 3}]))
  ]
  assert tables.runs_table(results.Results(points)).rows == [
    [page.Cell('a', to='a/'), 1, 3, 9],
    [page.Cell('b', to='b/'), 0, 0, 9],
  ]


def test_json_holds_no_infinity():
  values = {'a': [1.0, math.inf], 'b': {'c': math.nan, 'd': 'text', 'e': 2}}
  assert tables.finite(values) == {
    'a': [1.0, None],
    'b': {'c': None, 'd': 'text', 'e': 2},
  }
