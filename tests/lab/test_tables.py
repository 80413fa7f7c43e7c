"""Tables of points, and JSON that others read."""

import math

from ctxlm.lab import results, tables


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


def test_json_holds_no_infinity():
  values = {'a': [1.0, math.inf], 'b': {'c': math.nan, 'd': 'text', 'e': 2}}
  assert tables.finite(values) == {
    'a': [1.0, None],
    'b': {'c': None, 'd': 'text', 'e': 2},
  }
