"""Datastores and the search of them, against numpy; tuning, against a grid."""

import dataclasses
import itertools
import json
import sys
import types

import jax
import numpy as np
import pytest

from ctxlm import cli, errors
from ctxlm.context import (
  em,
  faiss_index,
  nearest,
  neural_cache,
  search,
  store,
)
from ctxlm.errors import UserError
from ctxlm.inference import judging, score, storing, tuning, widening
from ctxlm.objectives import causal, retrieved
from ctxlm.objectives.task import Task
from ctxlm.parallel import locks
from tests.context.test_widened import cached, pieces, told

TEXT = 'the cat sees the moon at 3. the cat sees it'


def brute(keys, states, k):
  """Returns (squared distances [q, k], places [q, k]) by all differences."""
  apart = np.square(states[:, None] - keys.astype(np.float64)).sum(-1)
  places = np.argsort(apart, axis=1, kind='stable')[:, :k]
  return np.take_along_axis(apart, places, 1), places


@pytest.mark.parametrize('count, queries, k', [(37, 3, 5), (16, 9, 30)])
def test_the_search_is_exact(monkeypatch, count, queries, k):
  """Whatever the blocks: the last begins early, and counts nothing twice."""
  monkeypatch.setattr(search, 'BLOCK', 16)
  monkeypatch.setattr(search, 'QUERIES', 4)
  rng = np.random.default_rng(0)
  keys = rng.normal(size=(count, 6)).astype(np.float16)
  states = rng.normal(size=(queries, 6)).astype(np.float32)
  norms = np.square(keys.astype(np.float32)).sum(1)
  found = jax.jit(search.nearest, static_argnums=3)(keys, norms, states, k)
  want = brute(keys, states, k)
  np.testing.assert_allclose(found[0], want[0], atol=1e-4)
  np.testing.assert_array_equal(found[1], want[1])


@pytest.fixture(scope='module')
def text_file(tmp_path_factory):
  path = tmp_path_factory.mktemp('text') / 'text.txt'
  lines = [TEXT, 'a dog likes a river.', 'the moon at 3. the cat', 'two stones']
  path.write_text('\n\n'.join(lines * 12))
  (path.parent / 'small.txt').write_text('\n\n'.join(lines * 2))
  return str(path)


@pytest.fixture(scope='module')
def stored(loaded, text_file, tmp_path_factory):
  """A datastore that was stopped, and gone on with."""
  folder = tmp_path_factory.mktemp('stores') / 'store'
  put, left = store.Writer.put, [2]

  def some(writer, *args):
    left[0] -= 1
    if left[0] < 0:
      raise KeyboardInterrupt
    put(writer, *args)

  def write():
    where = {'folder': loaded['causal'].folder, 'data': [text_file]}
    return storing.write(folder, 'train', **where)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(store.Writer, 'put', some)
    with pytest.raises(KeyboardInterrupt):
      write()
    with pytest.raises(UserError, match='not finished: give the same'):
      store.open_folder(folder)
    with open(folder / 'keys', 'ab') as f:
      f.write(b'of a batch that was never counted')
    left[0] = 1000
    write()
    assert left[0] < 999
    left[0] = 0  # one that is whole is written no more
    return write()


def test_a_store_has_the_states_and_the_tokens_that_came(
  loaded, text_file, stored
):
  run = loaded['causal']
  program, _, _ = judging.open_program(run.folder, data=[text_file])
  rows = pieces(program.bench, 'train')
  keys = np.concatenate([told(run, row)[1][:-1] for row in rows])
  np.testing.assert_allclose(stored.arrays['keys'], keys, rtol=2e-3, atol=1e-3)
  tokens = np.concatenate([row[1:] for row in rows])
  np.testing.assert_array_equal(stored.arrays['tokens'], tokens)
  norms = np.square(stored.arrays['keys'].astype(np.float32)).sum(1)
  np.testing.assert_allclose(stored.arrays['norms'], norms, rtol=1e-6)


def test_a_killed_writer_goes_on_bit_for_bit(tmp_path, monkeypatch):
  """Wherever between two looks at the disk."""
  monkeypatch.setattr(store, 'EVERY', 2)
  rng = np.random.default_rng(0)
  batches = [
    (rng.normal(size=(n, 4)), rng.integers(0, 9, n)) for n in (3, 5, 2, 4)
  ]

  def write(folder, first, last, done=False):
    writer = store.Writer(folder, 4, 'model', 'text', 8)
    assert writer.batches == first
    for batch in batches[first:last]:
      writer.put(*batch)
    if done:
      writer.close(True)
    for file in writer._files.values():
      file.close()  # what a process that is killed has written is there

  write(tmp_path / 'whole', 0, 4, True)
  write(tmp_path / 'killed', 0, 1)
  write(tmp_path / 'killed', 0, 3)
  write(tmp_path / 'killed', 2, 4, True)
  for name in (*store.DTYPES, store.NAME):
    a, b = ((tmp_path / x / name).read_bytes() for x in ('whole', 'killed'))
    assert a == b, name


def test_what_a_store_cannot_hold_is_said(tmp_path):
  """And what has a writer has no other."""
  writer = store.Writer(tmp_path / 'a', 2, 'model', 'text', 8)
  writer.put(np.array([[65504.0, 0.0]]), [70000])
  with pytest.raises(UserError, match='hidden states of more than 65504'):
    writer.put(np.array([[65536.0, 0.0]]), [1])
  assert writer.count == 1
  with pytest.raises(UserError, match='of another model, text or batch size'):
    writer.close(False)
    store.Writer(tmp_path / 'a', 2, 'model', 'another text', 8)
  store.Writer(tmp_path / 'a', 2, 'model', 'text', 8).close(True)
  kept = store.open_folder(tmp_path / 'a').arrays
  assert kept['keys'].tolist() == [[65504.0, 0.0]]
  assert kept['norms'].tolist() == [65504.0**2]
  assert kept['tokens'].tolist() == [70000]


def test_a_store_has_one_writer(loaded, text_file, tmp_path):
  where = {'folder': loaded['causal'].folder, 'data': [text_file]}
  with (
    locks.held(tmp_path / 'a', 'writes'),
    pytest.raises(UserError, match='wait until it ends'),
  ):
    storing.write(tmp_path / 'a', 'train', **where)


@pytest.mark.parametrize(
  'objective, words',
  [
    (causal.Objective(kind='stream'), 'and a context sees a row alone'),
    (causal.Objective(prefix=0.5), 'does not predict each token'),
    (retrieved.Objective(), 'does not predict each token'),
  ],
)
def test_of_what_states_are_asked(objective, words):
  bench = types.SimpleNamespace(task=lambda name: Task(name, objective))
  with pytest.raises(UserError, match=words):
    judging.causal_task(bench, 'text')


@pytest.fixture(scope='module')
def row(loaded):
  run = loaded['causal']
  return [run.tokenizer.bos_id, *run.tokenizer.encode(TEXT)][:20]


def neighbours(stored, hidden, vocab_size, k, temperature):
  """Returns p [l, v] by equation 2 of the paper, and squared distances."""
  apart, places = brute(stored.arrays['keys'], hidden, k)
  p = np.zeros((len(hidden), vocab_size))
  for t, (own, where) in enumerate(zip(apart, places, strict=True)):
    for d, i in zip(own, where, strict=True):
      p[t, stored.arrays['tokens'][i]] += np.exp((own[0] - d) / temperature)
  return p / p.sum(1, keepdims=True)


class Flat:
  """What of FAISS is used here: an index of all keys."""

  def __init__(self, width):
    self.d, self.is_trained = width, True
    self.keys = np.zeros((0, width), np.float32)

  @property
  def ntotal(self):
    return len(self.keys)

  def add(self, keys):
    self.keys = np.concatenate([self.keys, keys])

  def search(self, states, k):
    apart, places = brute(self.keys, states, k)
    places[0] = -1  # as where no cluster that is looked at has a key
    return apart.astype('f4'), places


@pytest.fixture
def faiss(monkeypatch):
  kept, clusters = {}, types.SimpleNamespace(nprobe=1)

  def keep(index, path):
    kept[path.rpartition('index_')[2].split('.')[0]] = index
    open(path, 'w').close()

  module = types.SimpleNamespace(
    index_factory=lambda width, name: Flat(width),
    write_index=keep,
    try_extract_index_ivf=lambda index: clusters,
    clusters=clusters,
    read_index=lambda path: kept[path.rpartition('index_')[2]],
  )
  monkeypatch.setitem(sys.modules, 'faiss', module)
  yield module
  faiss_index.opened.cache_clear()


@pytest.mark.parametrize('index', ['', ',index=Flat'])
def test_neighbours_are_the_papers(loaded, stored, row, faiss, index):
  run = loaded['causal']
  said = f'nearest:{stored.folder},k=9,temperature=0.5,weight=0.4{index}'
  wide = widening.widen(run, [said])
  logps, hidden = told(run, row)
  near = neighbours(stored, hidden, logps.shape[1], 9, 0.5)
  if index:
    near[0] = np.exp(logps[0])  # nothing is found
    assert faiss.clusters.nprobe == faiss_index.PROBES
  want = np.log(0.6 * np.exp(logps) + 0.4 * near)
  (said,) = score.scores(wide, [row])
  np.testing.assert_allclose(
    said, want[range(len(row) - 1), row[1:]], atol=1e-4
  )


def test_tune_finds_the_best_of_its_grid(loaded, text_file, stored):
  """Of every point the nats are those of a loop in numpy."""
  run = loaded['causal']
  grid = {'theta': (0.0, 0.5), 'window': (2, 9)}
  said = ['neural_cache', f'nearest:{stored.folder},temperature=0.5']
  small = text_file.replace('text.txt', 'small.txt')
  where = {'folder': run.folder, 'data': [small]}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(neural_cache.Context, 'grid', grid)
    patch.setattr(nearest.Neighbours, 'grid', {'k': (1, 4)})
    tuned = tuning.tune(said, 'validation', **where)
  program, _, _ = judging.open_program(**where)
  rows = pieces(program.bench)
  alone, near = [], {1: [], 4: []}
  caches = {p: [] for p in itertools.product(*grid.values())}
  for r in rows:
    logps, hidden = told(run, r)
    at = range(len(r) - 1), r[1:]
    alone.append(logps[at])
    for k, own in near.items():
      p = neighbours(stored, hidden, logps.shape[1], k, 0.5)
      own.append(np.log(np.maximum(p[at], 1e-37)))
    for point, own in caches.items():
      own.append(cached(r, logps, hidden, *point)[at])
  alone = np.concatenate(alone)
  columns = [alone]

  def choose(found):
    found = {point: np.concatenate(own) for point, own in found.items()}
    nats = {k: em.fit(np.stack([*columns, x], 1))[1] for k, x in found.items()}
    best = min(nats, key=nats.get)
    columns.append(found[best])
    return best

  best, k = choose(caches), choose(near)
  assert tuned.tokens == len(alone)
  assert tuned.alone == pytest.approx(-alone.mean(), abs=1e-5)
  assert tuned.said[0].startswith(
    f'neural_cache:theta={best[0]},window={best[1]},weight='
  )
  assert f',k={k},weight=' in tuned.said[1]
  weights, want = em.fit(np.stack(columns, 1))
  assert tuned.nats == pytest.approx(want, abs=1e-4)
  found = [float(one.rpartition('=')[2]) for one in tuned.said]
  np.testing.assert_allclose(found, weights[1:], atol=2e-3)
  judged = judging.judge(
    run.folder,
    overrides=[('evaluators.lm.name', 'perplexity')],
    data=[small],
    context=tuned.said,
  )
  assert judged.metrics['eval/lm/loss'] == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize('split, count', [('train', 1), ('validation', 0)])
def test_a_store_of_the_text_that_is_judged_is_said(
  loaded, text_file, stored, capsys, split, count
):
  said = [f'nearest:{stored.folder},k=4']
  where = {'folder': loaded['causal'].folder, 'data': [text_file]}
  tuning.tune(said, split, **where)
  assert capsys.readouterr().err.count('every token finds itself') == count
  errors.note.cache_clear()
  block = ('evaluators.lm', {'name': 'perplexity', 'split': split})
  judging.judge(**where, overrides=[block], context=said)
  assert capsys.readouterr().err.count('every token finds itself') == count


def test_em_finds_the_likeliest_weights():
  """None of a fine grid is likelier."""
  rng = np.random.default_rng(0)
  logps = np.log(rng.uniform(0.01, 1, (50, 3)))
  weights, nats = em.fit(logps)
  assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
  steps = np.linspace(0, 1, 41)
  for a, b in itertools.product(steps, steps):
    if a + b <= 1:
      p = np.exp(logps) @ np.array([a, b, 1 - a - b])
      with np.errstate(divide='ignore'):
        assert -np.log(p).mean() >= nats - 1e-6


def damaged(folder, stored, **changes):
  """Returns a folder whose store.json is the store's with changes."""
  folder.mkdir()
  said = json.loads((stored.folder / store.NAME).read_text())
  (folder / store.NAME).write_text(json.dumps(said | changes))
  return folder


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'model': 'x'}, 'is damaged, .* bytes are wanted'),
    ({'count': 0}, 'is empty'),
    ({'done': False}, 'not finished'),
    ({'count': -1}, "'count' is -1"),
    ({'width': '4'}, "'width' is '4'"),
    ({'layout': 9}, 'another layout'),
  ],
)
def test_no_damaged_store_is_read(stored, tmp_path, changes, words):
  with pytest.raises(UserError, match=words):
    store.open_folder(damaged(tmp_path / 'a', stored, **changes))


def test_mistakes_of_stores_are_one_line(
  loaded, stored, tmp_path, capsys, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'faiss', None)
  run = loaded['causal']

  def said(words, match, model=run):
    with pytest.raises(UserError, match=match) as e:
      widening.widen(model, [f'nearest:{words}'])
    assert '\n' not in str(e.value)

  said('/nowhere', 'is no datastore: write one with ctxlm store')
  said(f'{stored.folder},k=0', 'k=0 must be from 1')
  said(f'{stored.folder},index=IVF4', r'needs FAISS \(pip install')
  odd, tokens = tmp_path / 'odd', np.array(stored.arrays['tokens'])
  odd.mkdir()
  for name in (*store.DTYPES, store.NAME):
    (odd / name).write_bytes((stored.folder / name).read_bytes())
  tokens[3] = -7
  (odd / 'tokens').write_bytes(tokens.tobytes())
  said(odd, 'odd is damaged')
  # Another model's states.
  leaves, tree = jax.tree.flatten(run.params)
  params = tree.unflatten([leaves[0] + 1, *leaves[1:]])
  other = dataclasses.replace(run, params=params)
  said(stored.folder, 'a datastore of another model than', other)
  with pytest.raises(SystemExit):
    cli.main(['ctxlm', 'tune', f'--model={run.folder}'])
  assert '--context is needed' in capsys.readouterr().err
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'mine').write_text('')
  with pytest.raises(UserError, match='no datastore, and not empty'):
    store.Writer(tmp_path / 'full', 2, 'model', 'text', 8)
