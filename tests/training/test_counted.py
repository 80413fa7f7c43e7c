"""A model that is counted, from `train` to `generate`."""

import json

import jax
import numpy as np
import pytest

import ctxlm
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import conversion, judging, loading, score
from ctxlm.models import counts
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import loop, run_folder
from tests import tiny


def get_config(**model):
  """Returns a recipe whose text is one row, so that no document is cut."""
  c = tiny.get_config('judged')
  c.num_steps, c.max_length = 0, 1500
  c.model = {'name': 'ngram', 'order': 3} | model
  return c


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  """A short text."""
  path = tmp_path_factory.mktemp('counted') / 'text.txt'
  tiny.write_text(path, documents=20)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TINY_TEXT', str(path))
    yield path


@pytest.fixture(scope='module')
def run(text, tmp_path_factory):
  """A counted run folder."""
  folder = tmp_path_factory.mktemp('counted') / 'run'
  results = loop.train(get_config(), folder)
  return folder, results


def test_evaluate_score_and_numpy_agree(run):
  folder, results = run
  judged = judging.judge(folder).metrics
  assert judged == pytest.approx(results, abs=1e-6)
  loaded = loading.load(folder)
  view = loaded.run.program.views['judged']
  assert len(view) == 1
  tokens, begins = view.stream()
  table = counts.Lookup(loaded.model, loaded.params)
  # All tokens but those that texts begin with.
  by_numpy = table(tokens, begins)[~begins].mean()
  assert judged['eval/half/loss'] == pytest.approx(-by_numpy, abs=1e-5)
  starts = [*np.flatnonzero(begins), len(tokens)]
  own = [tokens[a:b].tolist() for a, b in zip(starts, starts[1:])]
  by_score = np.concatenate(score.scores(loaded, own)).mean()
  assert judged['eval/half/loss'] == pytest.approx(-by_score, abs=1e-5)
  # As a text, whose end is not scored.
  t = loaded.tokenizer
  text = t.decode(own[0][1:-1])
  assert t.encode(text) == own[0][1:-1]
  _, logps = score.score(loaded, text)
  ids = framing.document(t).first
  want = table([*ids, *t.encode(text)], [True] + [False] * len(logps))[1:]
  np.testing.assert_allclose(logps, want, atol=1e-5)


def test_counts_and_is_judged_alike_on_a_mesh(run, tmp_path):
  folder, results = run
  c = get_config()
  c.parallel.update({'strategy': 'mesh', 'tensor': 2})
  placement = placement_lib.make(c, jax.devices()[:4])
  other = loop.train(c, tmp_path / 'run', placement)
  assert other == pytest.approx(results, abs=1e-6)
  ours = tiny.state(tmp_path / 'run', 0)
  for name, x in tiny.state(folder, 0).items():
    assert x.tobytes() == ours[name].tobytes(), name


def test_again_there_is_nothing_to_do(run, capsys):
  folder, _ = run
  before = (folder / 'metrics.jsonl').read_bytes()
  loop.train(get_config(), folder)
  assert 'nothing to do' in capsys.readouterr().err
  assert (folder / 'metrics.jsonl').read_bytes() == before
  (row,) = tiny.metrics(folder)
  assert row['step'] == 0 and row['eval/half/tokens'] > 0


def test_killed_before_it_was_saved_it_counts_again(
  text, tmp_path, monkeypatch, capsys
):
  def fails(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr('ctxlm.training.program.Program.evaluate', fails)
    with pytest.raises(KeyboardInterrupt):
      loop.train(get_config(), tmp_path / 'run')
  loop.train(get_config(), tmp_path / 'run')
  assert 'config.optimizer is left out' in capsys.readouterr().err
  found = run_folder.load(tmp_path / 'run')
  again = found.program.counted
  for x, y in zip(*map(jax.tree.leaves, (found.params, again))):
    np.testing.assert_array_equal(x, y)


def test_it_writes_and_is_converted(run, tmp_path):
  folder, _ = run
  lm = ctxlm.load(folder)
  assert 'ngram' in repr(lm)
  text = lm.generate('the cat', max_new_tokens=6, strategy='greedy')
  assert text
  conversion.convert(folder, tmp_path / 'model')
  other = ctxlm.load(tmp_path / 'model')
  for x, y in zip(*map(jax.tree.leaves, (lm.params, other.params))):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)
  conversion.convert(folder, tmp_path / 'a.arpa')
  conversion.convert(tmp_path / 'a.arpa', tmp_path / 'back')
  back, direct = map(ctxlm.load, (tmp_path / 'back', tmp_path / 'a.arpa'))
  ids = lm.tokenizer.encode('the cat sees the moon')
  pieces = ' '.join(lm.tokenizer.tokens(ids))
  np.testing.assert_allclose(
    back.score(pieces), lm.score('the cat sees the moon'), atol=1e-5
  )
  np.testing.assert_array_equal(back.score(pieces), direct.score(pieces))
  with pytest.raises(UserError, match='is there already'):
    conversion.convert(folder, tmp_path / 'a.arpa')
  with pytest.raises(UserError, match='no hidden vectors'):
    lm.hidden('the cat')
  with pytest.raises(UserError, match='no hidden vectors'):
    lm.embed('the cat', pooling='mean')


def test_a_folder_of_other_tables_is_refused(run, tmp_path):
  folder, _ = run
  conversion.convert(folder, tmp_path / 'model')
  path = tmp_path / 'model' / 'model.json'
  about = json.loads(path.read_text())
  about['model']['order'] = 4
  path.write_text(json.dumps(about))
  with pytest.raises(UserError, match='order_3/backoffs is absent'):
    loading.load(tmp_path / 'model')


@pytest.mark.parametrize(
  'change, words',
  [
    (dict(num_steps=5), 'it takes no steps: config.num_steps=5 must be 0'),
    (dict(init_from='somewhere'), 'it begins from nothing'),
    (dict(order=0), 'config.model.order=0'),
    (dict(order=2.5), 'config.model.order=2.5'),
    (dict(estimator='good_turing'), 'config.model.estimator'),
    (dict(estimator='given'), 'counted elsewhere'),
    (dict(objective={'name': 'mlm'}), 'the objective causal'),
    (dict(objective={'name': 'causal', 'prefix': 0.5}), 'no prefix'),
    (dict(objective={'name': 'causal', 'kind': 'stream'}), "kind='text'"),
  ],
)
def test_what_makes_no_sense_is_refused(text, tmp_path, change, words):
  c = get_config(
    **{k: v for k, v in change.items() if k in ('order', 'estimator')}
  )
  for key in ('num_steps', 'init_from'):
    if key in change:
      c[key] = change[key]
  if 'objective' in change:
    del c.tasks.judged['objective']
    c.tasks.judged.objective = change['objective']
  c.optimizer.warmup_steps = 0
  with pytest.raises(UserError, match=words):
    loop.train(c, tmp_path / 'run')
