"""Batches as a pure function of (seed, step)."""

import collections

import numpy as np
import pytest

from ctxlm.data import loader
from ctxlm.errors import UserError


class Range:
  """A view whose example i is i."""

  def __init__(self, size):
    self.size = size

  def __len__(self):
    return self.size

  def read(self, i, rng):
    return {'example': np.int32(i)}


def prepare(example, rng):
  if example['example'] == 999:
    raise UserError('example 999 is bad')
  draws = rng.integers(0, 2**31, 3).astype(np.int32)
  return {**example, 'draws': draws}


def train(size=37, steps=(0, 12), batch=8, rows=None, **more):
  options = {'seed': 5, 'task': 'text', 'num_workers': 0} | more
  return list(
    loader.train_batches(
      Range(size),
      prepare,
      batch_size=batch,
      start_step=steps[0],
      num_steps=steps[1],
      rows=np.arange(batch) if rows is None else rows,
      **options,
    )
  )


def equal(a, b):
  assert len(a) == len(b)
  for x, y in zip(a, b):
    assert x.keys() == y.keys()
    for k in x:
      assert x[k].dtype == y[k].dtype
      np.testing.assert_array_equal(x[k], y[k])


@pytest.fixture(params=['table', 'computed'])
def permutation(request, monkeypatch):
  """Small sets read their order from a table, large ones compute it."""
  if request.param == 'computed':
    monkeypatch.setattr(loader, 'TABLE', 0)


@pytest.mark.parametrize('size', [1, 2, 3, 37, 64])
def test_each_example_once_an_epoch(size, permutation):
  epochs = 6
  steps = -(-size * epochs // 8)
  batches = train(size, (0, steps))
  order = np.concatenate([b['example'] for b in batches])
  for e in range(epochs):
    one = order[e * size : (e + 1) * size]
    assert sorted(one.tolist()) == list(range(size))
  assert all((b['valid'] == 1).all() for b in batches)


def test_epochs_seeds_and_tasks_have_orders_of_their_own(permutation):
  def order(**more):
    batches = train(64, (0, 16), **more)
    return np.concatenate([b['example'] for b in batches])

  found = [*order().reshape(2, 64), order(seed=6)[:64], order(task='b')[:64]]
  assert len({tuple(o) for o in found}) == 4
  equal(train(64, (0, 16)), train(64, (0, 16)))


def test_shuffling_is_thorough(permutation):
  # The place of each example over many epochs: uniform, by chi-square.
  size, epochs = 16, 100
  batches = train(size, (0, epochs), batch=size)
  table = np.zeros((size, size))
  for b in batches:
    table[b['example'], np.arange(size)] += 1
  chi = ((table - epochs / size) ** 2 / (epochs / size)).sum()
  # Mean 15 * 15, standard deviation sqrt(2 * 225): six of them.
  assert abs(chi - 225) < 6 * np.sqrt(450), chi


def test_resume_gives_the_same_batches():
  equal(train(steps=(0, 12))[7:], train(steps=(7, 12)))


def test_hosts_share_out_the_same_global_batch():
  whole = train()
  parts = [train(rows=np.array(r)) for r in ([0, 1, 2], [5, 3], [4, 6, 7])]
  for n, batch in enumerate(whole):
    index = np.concatenate([p[n]['index'] for p in parts])
    for k in batch:
      both = np.concatenate([p[n][k] for p in parts])
      np.testing.assert_array_equal(both[np.argsort(index)], batch[k])
    np.testing.assert_array_equal(batch['index'], np.arange(8))


def test_the_stream_is_the_same_whatever_the_batch_size():
  def flat(batch):
    batches = train(37, (0, 96 // batch), batch=batch)
    return {
      k: np.concatenate([b[k] for b in batches]) for k in ('example', 'draws')
    }

  equal([flat(8)], [flat(12)])


def test_workers_change_nothing():
  equal(train(steps=(3, 12)), train(steps=(3, 12), num_workers=2))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_mistake_in_a_worker_is_the_users(workers):
  with pytest.raises(UserError, match='example 999 is bad'):
    train(1000, (0, 125), num_workers=workers)


def test_draws_are_fresh_each_epoch_and_example():
  batches = train(8, (0, 50))
  draws = collections.Counter(
    tuple(d) for b in batches for d in b['draws'].tolist()
  )
  assert len(draws) == 400


@pytest.mark.parametrize('size', [1, 7, 8, 9, 24])
@pytest.mark.parametrize('hosts', [1, 2])
def test_evaluation_counts_each_example_once(size, hosts):
  found = collections.Counter()
  for host in range(hosts):
    rows = np.arange(8).reshape(hosts, -1)[host]
    batches = loader.eval_batches(
      Range(size), prepare, seed=0, task='t', batch_size=8, rows=rows
    )
    count = 0
    for b in batches:
      count += 1
      assert all(len(v) == len(rows) for v in b.values())
      assert b['valid'].dtype == np.float32
      found.update(b['example'][b['valid'] == 1].tolist())
    assert count == -(-size // 8)
  assert found == collections.Counter(range(size))


@pytest.mark.parametrize('size', [1, 7, 8, 9, 20, 24])
def test_the_last_batch_is_filled_with_others(size):
  batches = loader.eval_batches(
    Range(size), prepare, seed=0, task='t', batch_size=8, rows=np.arange(8)
  )
  for b in batches:
    there = b['example'][b['present'] == 1]
    # As many different examples in each batch as there can be.
    assert len(there) == len(set(there.tolist())) == min(size, 8)
    assert (b['present'] >= b['valid']).all()


def test_evaluation_draws_the_same_each_time():
  def run():
    return list(
      loader.eval_batches(
        Range(9), prepare, seed=0, task='t', batch_size=4, rows=np.arange(4)
      )
    )

  equal(run(), run())


def test_mistakes():
  with pytest.raises(UserError, match='no examples'):
    train(0)
  with pytest.raises(UserError, match='seed'):
    train(seed=-1)
