"""Points: seeds, names, and mistakes before anything starts."""

import importlib

import pytest

from ctxlm.errors import UserError
from ctxlm.lab.points import points
from tests import tiny, toy


def test_every_experiment_has_a_large_scale():
  for path in sorted((tiny.ROOT / 'experiments').glob('*.py')):
    module = importlib.import_module(f'ctxlm.experiments.{path.stem}')
    if hasattr(module, 'sweep'):
      assert points(module, 'large', range(1), {})


class Toy:
  """A module whose sweep a test gives."""

  __file__ = 'toy.py'

  def __init__(self, *overrides):
    self.get_config, self.sweep = toy.get_config, lambda scale: overrides


def test_points_take_seeds_and_the_names_that_tell():
  module = Toy(
    {'batch_size': 8, 'optimizer.learning_rate': 0.1, 'optimizer.b1': 0.5},
    {'batch_size': 8, 'optimizer.learning_rate': 0.2, 'optimizer.b1': 0.6},
    {'batch_size': 8, 'optimizer.learning_rate': 0.3, 'seed': 7},
  )
  listed = points(module, 'small', range(2), {'num_steps': 9})
  assert [name for name, _, _ in listed] == [
    'learning_rate=0.1,seed=0',
    'learning_rate=0.1,seed=1',
    'learning_rate=0.2,seed=0',
    'learning_rate=0.2,seed=1',
    'learning_rate=0.3,seed=7',
  ]
  _, overrides, config = listed[3]
  assert overrides['seed'] == config.seed == 1
  assert config.optimizer.b1 == 0.6 and config.num_steps == 9


def test_a_setting_is_of_points_that_do_not_give_its_block_whole():
  block = toy.get_config().model.to_dict()
  module = Toy({'model': block}, {'batch_size': 4})
  (name, value), *_ = ((k, v) for k, v in block.items() if k != 'name')
  given = {f'model.{name}': type(value)(value * 2)}
  configs = [c for _, _, c in points(module, 'small', range(1), given)]
  assert [c.model[name] for c in configs] == [value, value * 2]
  with pytest.raises(UserError, match='would not count'):
    points(Toy({'model': block}), 'small', range(1), given)


@pytest.mark.parametrize(
  'overrides, wanted',
  [
    ({'optimizer.learning_rat': 1.0}, "Did you mean 'learning_rate'?"),
    ({'optimiser.learning_rate': 1.0}, "Did you mean 'optimizer'?"),
    ({'seed.value': 1}, "no 'value'"),
    ({'num_steps': 'many'}, 'num_steps'),
    ({'batch_size': 0}, 'batch_size=0 must be 1 or more'),
    ({'model.name': 'toi'}, 'no models named'),
  ],
)
def test_wrong_points(overrides, wanted):
  with pytest.raises(UserError, match='toy.py: sweep()') as e:
    points(Toy({}, overrides), 'small', range(1), {})
  assert wanted in str(e.value)


def test_a_value_that_the_data_refuses():
  from ctxlm.experiments import mqar

  with pytest.raises(UserError, match='point .*length must be even'):
    points(mqar, 'small', range(1), {'tasks.recall.data.length': 30})


def test_the_same_point_twice_and_none():
  with pytest.raises(UserError, match='seed=0 twice'):
    points(Toy({'num_steps': 1}, {'num_steps': 1}), 'small', range(1), {})
  with pytest.raises(UserError, match='yields nothing'):
    points(Toy(), 'small', range(1), {})
