"""Data made inside the step: many steps a call are the same as one by one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ctxlm import optim, parallel, step, train
from ctxlm import run as run_lib
from ctxlm.data import loader
from ctxlm.errors import UserError
from tests import toy

PLACES = {
  'pmap 1': (1, {}),
  'pmap 4': (4, {}),
  'mesh 4': (4, {'strategy': 'mesh', 'data': 4}),
}


def make(place='pmap 1'):
  """Returns (config, where, tasks, options of train_step, first state)."""
  devices, block = PLACES[place]
  config = toy.get_config()
  config.parallel.update(block)
  where = parallel.make(config, jax.devices()[:devices])
  _, tasks = run_lib.build(config, _Tokens)
  model = toy.Model()
  params = {'weight': jnp.zeros(())}
  tx = optim.make(config.optimizer, config.num_steps, params)
  options = dict(
    tasks=tasks,
    apply=step.make_apply(model),
    tx=tx,
    schedule=optim.schedule(config.optimizer, config.num_steps),
    accumulation=1,
    ema_decay=0.0,
  )

  def init():
    return step.TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=tx.init(params),
      ema=None,
    )

  return config, where, tasks, options, where.init(init)


class _Tokens:
  vocab_size = 1


def run(place, stops):
  """Returns (state, losses) after steps up to each stop, a call each."""
  config, where, tasks, options, state = make(place)
  rest = {k: v for k, v in options.items() if k not in ('tx', 'schedule')}
  function = functools.partial(
    step.many_steps,
    capacity=20,
    rule=lambda _: (options['tx'], options['schedule']),
    **rest,
  )
  call = where.compile(function, donate=True, whole=2)
  (rows,) = loader.places(8, 8, where.rows(8))
  losses, done = [], 0
  for stop in stops:
    state, metrics = call(
      state,
      where.put({'line': rows}),
      stop,
      step.Scalars(config.seed, 0.1, 0.0),
    )
    losses += list(np.asarray(metrics['loss'])[: stop - done])
    done = stop
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
  config, _, tasks, options, state = make()
  _, losses = run('pmap 1', [5])
  (rows,) = loader.places(8, 8, np.arange(8))
  single = functools.partial(
    step.train_step, axis=None, seed=config.seed, **options
  )
  for i in range(5):
    state, metrics = single(state, {'line': rows})
    assert metrics['loss'] == pytest.approx(float(losses[i]), rel=1e-5)


def test_data_is_a_function_of_seed_task_split_step_and_row():
  _, _, (task,), _, _ = make()
  index = jnp.arange(4)
  batches = []
  for seed, name, split in itertools.product(
    (0, 1), ('a', 'b'), ('train', 'test')
  ):
    key = step.data_key(seed, name, split)
    made = step.features(task, {'index': index}, key)
    again = step.features(task, {'index': index[2:]}, key)
    np.testing.assert_array_equal(made['x'][2:], again['x'])
    batches.append(tuple(np.asarray(made['x']).tolist()))
  assert len(set(batches)) == 8 and len(set(batches[0])) == 4


def test_evaluation_counts_every_example_once():
  batches = list(loader.places(20, 8, np.arange(8)))
  valid = np.concatenate([b['valid'] for b in batches])
  index = np.concatenate([b['index'] for b in batches])
  assert valid.sum() == 20
  assert sorted(index[valid > 0]) == list(range(20))


def test_stops_are_where_something_is_due():
  c = toy.get_config()  # logs every 3, saves every 5, judges every 4, to 60
  stops, done = [], 0
  while done < 16:
    done = train._next_stop(done, c)
    stops.append(done)
  assert stops == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16]
  assert train._next_stop(59, c) == 60


def test_a_run_resumes_bitwise_and_names_the_step_that_breaks(tmp_path):
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  status, results = train.train(toy_constant(20), whole)
  assert status == 0 and results['eval/line/loss'] < 4
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
