"""Checkpoints: kept, found, and never half or damaged."""

import itertools
import json
import logging
import math
import shutil
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ctxlm import config, trees
from ctxlm.errors import UserError
from ctxlm.training import checkpoint, checksums, damage, step

META = {'data': {'text': 'hash'}, 'tokenizer': 'hash'}


def state(number, width=64):
  rng = np.random.default_rng(number)
  params = {
    'dense': {
      'kernel': jnp.asarray(rng.normal(size=(width, 32)), jnp.float32),
      'bias': jnp.asarray(rng.normal(size=32), jnp.bfloat16),
    }
  }
  return step.TrainState(
    step=jnp.int32(number), params=params, opt_state=(), ema=None
  )


def abstract(like):
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), like
  )


def open_run(folder, said=None, meta=META, **options):
  c = config.base()
  c.checkpoint.update(options)
  said = [] if said is None else said
  return checkpoint.Checkpoints(folder, c, meta, said.append)


def saved(folder, steps, metrics=None, **options):
  run = open_run(folder, **options)
  for n in steps:
    run.save(n, state(n), (metrics or {}).get(n))
  run.close()


def steps_of(folder):
  return sorted(int(p.name) for p in (folder / 'checkpoints').iterdir())


def assert_equal(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def write_log(folder, metrics, mode):
  c = config.base()
  c.checkpoint.update(best='loss', best_mode=mode)
  (folder / 'config.json').write_text(config.to_json(c))
  (folder / 'metrics.jsonl').write_text(
    ''.join(json.dumps({'step': n} | m) + '\n' for n, m in metrics.items())
  )


@pytest.mark.parametrize('mode, best', [('min', 3), ('max', 2)])
def test_newest_and_best_are_kept(tmp_path, mode, best):
  losses = {n: {'loss': v} for n, v in enumerate([5, 7, 9, 1, 4, 4.5, 2], 0)}
  saved(tmp_path, range(7), losses, keep=2, best='loss', best_mode=mode)
  assert steps_of(tmp_path) == sorted({best, 5, 6})
  write_log(tmp_path, losses, mode)
  assert checkpoint.find(tmp_path)[0] == 6
  assert checkpoint.find(tmp_path, 'best')[0] == best
  assert checkpoint.find(tmp_path, '5')[0] == 5
  with pytest.raises(UserError, match='no checkpoint 4; it has'):
    checkpoint.find(tmp_path, '4')


ORDERS = list(itertools.permutations((0.4, 0.6, 0.2, math.nan)))


@pytest.mark.parametrize('mode', ['min', 'max'])
def test_no_number_is_never_the_best(tmp_path, mode):
  """Nothing compares with NaN, so the order would decide."""
  c = config.base().checkpoint
  c.update(best='loss', best_mode=mode)
  policy = checkpoint.kept(c).policies[1]
  for order in ORDERS:
    best = order.index(0.2 if mode == 'min' else 0.6)
    metrics = {n: {'loss': v} for n, v in enumerate(order)}
    infos = [types.SimpleNamespace(metrics=m) for m in metrics.values()]
    assert policy.should_preserve(infos, context=None) == [
      n == best for n in range(4)
    ], order
    write_log(tmp_path, metrics, mode)
    assert checkpoint._best(tmp_path, list(range(4))) == best, order


def test_the_best_outlives_a_restart_and_a_nan(tmp_path):
  options = dict(keep=1, best='loss', best_mode='max')
  for n, value in enumerate((0.4, 0.6, 0.2, math.nan)):
    saved(tmp_path, [n], {n: {'loss': value}}, **options)
  assert steps_of(tmp_path) == [1, 3]
  write_log(tmp_path, {1: {'loss': math.nan}, 3: {'loss': math.nan}}, 'max')
  with pytest.raises(UserError, match='no checkpoint has a number'):
    checkpoint.find(tmp_path, 'best')


def test_restores_what_was_saved(tmp_path):
  saved(tmp_path, [1, 2])
  found, got = open_run(tmp_path).restore(abstract(state(0)))
  assert found == 2
  assert_equal(got, state(2))
  params = checkpoint.read_params(tmp_path, abstract(state(0)).params, 1)
  assert_equal(params, state(1).params)
  assert open_run(tmp_path / 'new').restore(abstract(state(0))) is None


def files(folder, number):
  found = (folder / 'checkpoints' / str(number) / 'state').rglob('*')
  return sorted((p for p in found if p.is_file()), key=lambda p: str(p))


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


DAMAGE = {
  'a changed bit': lambda p: flip(max(p, key=lambda f: f.stat().st_size)),
  'a file cut short': lambda p: max(
    p, key=lambda f: f.stat().st_size
  ).write_bytes(b'short'),
  'no files': lambda p: [f.unlink() for f in p],
  'an empty manifest': lambda p: [
    f.write_bytes(b'') for f in p if 'manifest' in f.name
  ],
}


@pytest.mark.parametrize('kind', DAMAGE)
def test_damaged_newest_falls_back(tmp_path, kind):
  saved(tmp_path, [1, 2])
  DAMAGE[kind](files(tmp_path, 2))
  said = []
  run = open_run(tmp_path, said)
  found, got = run.restore(abstract(state(0)))
  assert found == 1
  assert_equal(got, state(1))
  assert len(said) == 1 and said[0].startswith('checkpoint 2 is damaged (')
  assert '\n' not in said[0] and said[0].endswith('trying the one before')
  assert (tmp_path / 'damaged' / '2').is_dir()
  run.save(2, state(2))  # the steps are run again
  run.close()
  assert_equal(open_run(tmp_path).restore(abstract(state(0)))[1], state(2))


@pytest.mark.parametrize(
  'error, kind, wanted',
  [
    (OSError(28, 'No space left'), OSError, 'No space left on device'),
    (
      ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='122']"),
      OSError,
      'Disk quota exceeded',
    ),
    (TypeError('a\nmistake'), UserError, r'can not be written \(a mistake\)'),
  ],
  ids=repr,
)
def test_a_save_that_fails_says_where(
  tmp_path, monkeypatch, error, kind, wanted
):
  """Now, or when the next one waits for it; and the others stay."""
  saved(tmp_path, [1])
  run = open_run(tmp_path)

  def fail(*_, **__):
    raise error

  for name in ('save', 'wait_until_finished'):
    with monkeypatch.context() as patch:
      patch.setattr(run._manager, name, fail)
      with pytest.raises(kind, match=wanted) as e:
        run.save(2, state(2))
        run.wait()
    assert str(tmp_path / 'checkpoints') in str(e.value)
  run.close()
  assert checkpoint.find(tmp_path)[0] in (1, 2)


def test_what_threads_print_of_a_save_is_not_shown(monkeypatch):
  """And nothing else is kept from being shown."""
  said = []
  monkeypatch.setattr(sys, 'excepthook', lambda *what: said.append(what[1]))
  monkeypatch.setattr(sys, 'unraisablehook', lambda what: said.append(what))
  damage.hush.__wrapped__()

  async def left():
    pass

  coroutine = left()
  closed = RuntimeError('Event loop is closed')
  for thing, error in ((coroutine, None), (None, closed), (None, said)):
    what = types.SimpleNamespace(object=thing, exc_value=error)
    sys.unraisablehook(what)
  assert said.pop() is what and not said
  coroutine.close()
  for error in (RuntimeError('Event loop is closed'), RuntimeError('another')):
    sys.excepthook(type(error), error, None)
  assert [str(e) for e in said] == ['another']
  for path, shown in (('/x/orbax/checkpoint/a.py', False), ('/x/my.py', True)):
    record = logging.LogRecord('absl', 40, path, 1, 'text', (), None)
    assert bool(logging.getLogger('absl').filter(record)) == shown


def test_commands_name_a_damaged_checkpoint(tmp_path):
  saved(tmp_path, [1, 2])
  DAMAGE['a changed bit'](files(tmp_path, 2))
  with pytest.raises(UserError, match='checkpoint 2 is damaged') as e:
    checkpoint.read_params(tmp_path, abstract(state(0)).params)
  assert '\n' not in str(e.value) and str(e.value).endswith('--step=1')
  checkpoint.read_params(tmp_path, abstract(state(0)).params, 1)
  for path in (tmp_path / 'checkpoints' / '2' / 'state').iterdir():
    if path.is_file():
      path.write_bytes(b'{')
  with pytest.raises(UserError, match='checkpoint 2 is damaged'):
    checkpoint.find(tmp_path)


@pytest.mark.parametrize('value, few', [(np.nan, 0), (np.inf, 2**20)])
def test_what_is_not_finite_is_never_saved(tmp_path, value, few, monkeypatch):
  monkeypatch.setattr(trees, 'FEW', few)  # by the devices, or here
  saved(tmp_path, [1])
  run, broken = open_run(tmp_path), state(2)
  dense = broken.params['dense']
  dense['kernel'] = dense['kernel'].at[3, 4].set(value)
  with pytest.raises(UserError) as e:
    run.save(2, broken)
  assert str(e.value).startswith('params/dense/kernel is not finite after')
  assert 'checkpoint 1 is kept' in str(e.value)
  run.close()
  assert steps_of(tmp_path) == [1]


def test_the_last_one_is_never_moved(tmp_path):
  saved(tmp_path, [1, 2])
  for n in (1, 2):
    DAMAGE['a changed bit'](files(tmp_path, n))
  for _ in range(2):
    with pytest.raises(UserError, match='no checkpoint can be read; 1, the'):
      open_run(tmp_path).restore(abstract(state(0)))
    assert steps_of(tmp_path) == [1]
  assert (tmp_path / 'damaged' / '2').is_dir()


@pytest.mark.parametrize(
  'error',
  [
    MemoryError(),
    PermissionError(13, 'Permission denied'),
    OSError(5, 'Input/output error'),
    ValueError('RESOURCE_EXHAUSTED: out of memory'),
    TypeError('a mistake of the program'),
    AttributeError("'NoneType' object has no attribute 'write'"),
  ],
  ids=repr,
)
def test_other_errors_touch_no_checkpoint(tmp_path, monkeypatch, error):
  saved(tmp_path, [1, 2])
  run = open_run(tmp_path)

  def fail(*_):
    raise error

  monkeypatch.setattr(run, '_read', fail)
  with pytest.raises(type(error)):
    run.restore(abstract(state(0)))
  run.close()
  assert steps_of(tmp_path) == [1, 2]
  assert open_run(tmp_path).restore(abstract(state(0)))[0] == 2


def test_a_second_reading_that_lacks_memory_proves_nothing(
  tmp_path, monkeypatch
):
  saved(tmp_path, [1, 2])
  DAMAGE['a changed bit'](files(tmp_path, 2))

  class Reader:
    def restore(self, _):
      raise MemoryError

  monkeypatch.setattr(checkpoint.ocp, 'PyTreeCheckpointer', Reader)
  with pytest.raises(ValueError, match='is not what was saved'):
    open_run(tmp_path).restore(abstract(state(0)))
  assert steps_of(tmp_path) == [1, 2]


def test_a_closed_standard_error_is_no_damage(tmp_path, monkeypatch):
  saved(tmp_path, [1, 2])
  monkeypatch.setattr(sys, 'stderr', None)
  assert open_run(tmp_path).restore(abstract(state(0)))[0] == 2


def test_half_written_is_never_picked_up(tmp_path):
  saved(tmp_path, [1])
  folder = tmp_path / 'checkpoints'
  # As Orbax names a save that is under way.
  shutil.copytree(folder / '1', folder / '2.orbax-checkpoint-tmp')
  assert checkpoint.find(tmp_path)[0] == 1
  found, got = open_run(tmp_path).restore(abstract(state(0)))
  assert found == 1
  assert_equal(got, state(1))


def test_other_model_and_other_data_are_not_damage(tmp_path):
  saved(tmp_path, [1])
  with pytest.raises(UserError, match=r'kernel is \[64, 32\] there, \[8, 32\]'):
    open_run(tmp_path).restore(abstract(state(0, width=8)))
  with pytest.raises(UserError, match='was started with other tokenizer'):
    open_run(tmp_path, meta=META | {'tokenizer': 'x'}).restore(
      abstract(state(0))
    )
  assert steps_of(tmp_path) == [1] and not (tmp_path / 'damaged').exists()


@pytest.mark.parametrize('few', [0, 2**20])
def test_checksums_by_hand_however_placed(few, monkeypatch):
  monkeypatch.setattr(trees, 'FEW', few)  # by the devices, or here
  tree = state(0).params
  mesh = jax.make_mesh((8,), ('a',))
  cut = NamedSharding(mesh, PartitionSpec('a'))
  placed = jax.tree.map(lambda x: jax.device_put(x, cut), tree)
  found = checksums.of(tree)
  assert found == checksums.of(placed)
  for name, kind in (('kernel', np.uint32), ('bias', np.uint16)):
    bits = np.asarray(tree['dense'][name]).view(kind).ravel().astype(np.uint64)
    want = (bits * (2 * np.arange(bits.size, dtype=np.uint64) + 1)).sum()
    assert found[f'dense/{name}'] == int(want) % 2**32


def test_reading_in_threads_loses_no_line(capsys):
  """Runs that train together read at once, and speak while others read."""
  inside, spoken = threading.Event(), threading.Event()

  def read():
    with damage.quiet():
      inside.set()
      spoken.wait(10)

  threads = [threading.Thread(target=read) for _ in range(2)]
  for thread in threads:
    thread.start()
  inside.wait(10)
  print('going on', file=sys.stderr)
  spoken.set()
  for thread in threads:
    thread.join(10)
  print('at its end', file=sys.stderr)
  assert capsys.readouterr().err == 'going on\nat its end\n'
