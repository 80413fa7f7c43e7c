"""What is varied: how it is written, grids, and draws."""

import ast

import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.lab import space


def typed(*words):
  """Returns a space whose values are as Python reads them."""
  return {
    key: part.typed([ast.literal_eval(text) for text in part.probes])
    for key, part in space.parse(words).items()
  }


def test_commas_split_outside_of_brackets_only():
  parsed = space.parse(['a.b=1e-4, 3e-4', "c=(('x/', 2.0),),()", 'd=gelu'])
  assert parsed['a.b'].values == ('1e-4', '3e-4')
  assert parsed['c'].values == ("(('x/', 2.0),)", '()')
  assert parsed['d'].values == ('gelu',)


@pytest.mark.parametrize(
  'words, wanted',
  [
    (['rate'], '--over rate: say KEY=VALUE'),
    (['rate='], '--over rate=: a value is empty'),
    (['rate=1,,2'], 'a value is empty'),
    (['rate=log:1:'], 'a value is empty'),
    (['rate=1', 'rate=2'], '--over rate is there twice'),
    (['seed=1,2'], 'use --seeds|how many with --seeds'),
    (['rate=log:1'], 'a range is log:LOW:HIGH'),
  ],
)
def test_mistakes_of_form(words, wanted):
  with pytest.raises(UserError, match=wanted):
    space.parse(words)


@pytest.mark.parametrize(
  'word, wanted',
  [
    ('a=1,2,1', 'value 1 is there twice'),
    ('a=log:0:1', 'log needs numbers above 0'),
    ('a=uniform:2:1', '2 is not below 1'),
    ("a=uniform:'x':2", 'two numbers'),
    ('a=uniform:True:2', 'two numbers'),
    ('a=uniform:0:1e999', 'two numbers'),
  ],
)
def test_mistakes_of_value(word, wanted):
  with pytest.raises(ValueError, match=wanted):
    typed(word)


def test_a_grid_is_all_combinations():
  assert space.grid(typed('a=1,2', 'b=3,4')) == [
    {'a': 1, 'b': 3},
    {'a': 1, 'b': 4},
    {'a': 2, 'b': 3},
    {'a': 2, 'b': 4},
  ]
  with pytest.raises(UserError, match='--over a is a range: .*--points=N'):
    space.grid(typed('a=log:1:2'))


def test_draws_have_the_distributions_that_are_asked_for():
  over = typed('r=log:1e-4:1e-1', 'd=uniform:0.0:0.5', 'n=log:1:64', 'c=1,2,4')
  points = space.draw(over, 2000)
  rate, dropout, layers, choice = (
    np.array([p[key] for p in points]) for key in over
  )
  # Equal shares of each decade, of each fifth, of each octave, of each choice.
  decades = np.histogram(np.log10(rate), 3, (-4, -1))[0]
  np.testing.assert_allclose(decades / 2000, 1 / 3, atol=0.02)
  fifths = np.histogram(dropout, 5, (0, 0.5))[0]
  np.testing.assert_allclose(fifths / 2000, 1 / 5, atol=0.02)
  assert layers.dtype.kind == 'i' and layers.min() == 1 and layers.max() == 64
  assert abs((layers < 8).mean() - np.log(8) / np.log(65)) < 0.02
  assert [abs((choice == v).mean() - 1 / 3) < 0.02 for v in (1, 2, 4)] == [
    1
  ] * 3
  assert all(over['r'].holds(v) for v in rate)


def test_draws_are_the_same_again_and_the_first_of_more():
  over = typed('r=log:1e-4:1e-1', 'c=1,2,4')
  points = space.draw(over, 20)
  assert space.draw(over, 9) == points[:9]
  assert all(points.count(p) == 1 for p in points)


def test_no_more_is_drawn_than_there_is():
  points = space.draw(typed('a=1,2', 'b=uniform:1:2'), 9)
  pairs = sorted((p['a'], p['b']) for p in points)
  assert pairs == [(1, 1), (1, 2), (2, 1), (2, 2)]
