"""Data made inside the step: many steps a call are the same as one by one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm.data import loader
from ctxlm.errors import UserError
from ctxlm.objectives import task as task_lib
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import cadence, step
from ctxlm.training import loop as train
from ctxlm.training import program as program_lib
from tests import tiny, toy

PLACES = {
  'pmap 1': (1, {}),
  'pmap 4': (4, {}),
  'mesh 4': (4, {'strategy': 'mesh', 'data': 4}),
}


def make(place='pmap 1'):
  """Returns the Program of the toy in a place."""
  devices, block = PLACES[place]
  config = toy.get_config()
  config.log_every_steps = 20  # a call's steps at most
  config.parallel.update(block)
  placement = placement_lib.make(config, jax.devices()[:devices])
  return program_lib.build(config, placement, _Tokens)


class _Tokens:
  vocab_size = 1


def run(place, stops):
  """Returns (state, losses) after steps up to each stop, a call each."""
  program = make(place)
  state, batches = program.init(), program.batches(0)
  losses, done = [], 0
  for stop in stops:
    first = done
    state, done, metrics = program.advance(state, next(batches), first, stop)
    losses += list(np.asarray(metrics['loss'])[: done - first])
  return jax.device_get(state), np.array(losses)


def test_however_a_run_is_cut_no_bit_changes():
  whole, losses = run('pmap 1', [20])
  for stops in ([1, 2, 3, 20], [7, 20]):
    state, other = run('pmap 1', stops)
    np.testing.assert_array_equal(other, losses)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole)):
      assert a.tobytes() == b.tobytes()
  assert losses[-1] < losses[0] and len(set(losses)) == 20


@pytest.mark.parametrize('place', ['pmap 4', 'mesh 4'])
def test_every_place_draws_the_same_data(place):
  _, losses = run('pmap 1', [10])
  _, other = run(place, [4, 10])
  np.testing.assert_allclose(other, losses, rtol=1e-5)


def test_many_steps_are_single_steps():
  program = make()
  state = program.init()
  _, losses = run('pmap 1', [5])
  single = functools.partial(
    step.train_step,
    axis=None,
    seed=program.config.seed,
    tasks=program.tasks,
    apply=program.apply,
    tx=program.optimizer,
    schedule=program.schedule,
    accumulation=1,
    ema_decay=0.0,
  )
  batch = next(program.batches(0))
  for i in range(5):
    state, metrics = single(state, batch)
    assert metrics['loss'] == pytest.approx(float(losses[i]), rel=1e-5)


def test_data_is_a_function_of_seed_task_split_step_and_row():
  (task,) = make().tasks
  index = jnp.arange(4)
  batches = []
  for seed, name, split in itertools.product(
    (0, 1), ('a', 'b'), ('train', 'test')
  ):
    key = task_lib.data_key(seed, name, split)
    made = task_lib.features(task, {'index': index}, key)
    again = task_lib.features(task, {'index': index[2:]}, key)
    np.testing.assert_array_equal(made['x'][2:], again['x'])
    batches.append(tuple(np.asarray(made['x']).tolist()))
  assert len(set(batches)) == 8 and len(set(batches[0])) == 4


def test_every_process_counts_its_own_rows():
  # The second of two processes holds the batch's second half.
  program = make()
  program.placement.rows = lambda size: np.arange(size // 2, size)
  batch = next(program.batches(0))['line']
  assert batch['index'].tolist() == [4, 5, 6, 7]
  assert batch['valid'].tolist() == [1, 1, 1, 1]


def test_evaluation_counts_every_example_once():
  batches = list(loader.numbered(20, 8, np.arange(8)))
  valid = np.concatenate([b['valid'] for b in batches])
  index = np.concatenate([b['index'] for b in batches])
  assert valid.sum() == 20
  assert sorted(index[valid > 0]) == list(range(20))


def test_stops_are_where_something_is_due():
  c = toy.get_config()  # logs every 3, saves every 5, judges every 4, to 60
  stops, done = [], 0
  while done < 16:
    done = cadence.next_stop(c, done)
    stops.append(done)
  assert stops == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16]
  assert cadence.next_stop(c, 59) == 60


def test_a_run_resumes_bitwise_and_names_the_step_that_breaks(tmp_path):
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  results = train.train(toy_constant(20), whole)
  assert results['eval/line/loss'] < 4
  for steps in (7, 13, 20):
    train.train(toy_constant(steps), cut)
  a, b = tiny.state(whole, 20), tiny.state(cut, 20)
  for name in a:
    assert a[name].tobytes() == b[name].tobytes(), name

  broken = toy_constant(20)
  broken.tasks.line.objective.breaks = 10
  # Steps are many a call, yet the first one that isn't finite is named.
  with pytest.raises(UserError, match='at step 11 are not finite; checkpoint'):
    train.train(broken, tmp_path / 'broken')


def toy_constant(num_steps):
  """Returns the recipe with a rate that doesn't know the end."""
  c = toy.get_config()
  c.optimizer.schedule = 'constant'
  c.num_steps = num_steps
  return c
