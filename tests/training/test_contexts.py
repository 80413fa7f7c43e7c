"""Contexts in the loss: a gate that is trained, in one loop with the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import config
from ctxlm.errors import UserError
from ctxlm.inference import conversion, judging, loading, score, widening
from ctxlm.models import decoder
from ctxlm.training import loop, run_folder
from tests import tiny
from tests.context.test_widened import cached, counted, told


def get_config(folder, grams):
  """Returns the tiny recipe, on from a run, with a gate alone to be trained."""
  c = tiny.get_config('causal')
  c.num_steps, c.checkpoint.every_steps = 8, 5
  c.init_from = str(folder)
  c.tokenizer.kind, c.tokenizer.path = 'file', str(folder / 'tokenizer')
  c.context = {
    'cache': {'name': 'neural_cache', 'theta': 0.2, 'window': 7, 'weight': 0.1},
    'grams': {'name': 'interpolate', 'model': str(grams), 'weight': 0.2},
  }
  c.gate = True
  c.optimizer.factors = (('^(?!context)', 0.0),)
  c.optimizer.learning_rate = 0.3
  c.optimizer.weight_decay = 0.0
  c.evaluators.lm = {'name': 'perplexity', 'split': 'train'}
  return c


@pytest.fixture(scope='module')
def gated(runs, tmp_path_factory):
  """A run with a gate, and the n-grams in it, opened."""
  here = tmp_path_factory.mktemp('gated')
  grams = counted(here / 'ngram', runs, order=3)
  loop.train(get_config(runs['causal'].workdir, grams), here / 'run')
  return loading.load(here / 'run'), loading.load(grams)


def test_the_gate_is_trained_with_the_loss(loaded, gated):
  """The rest stays; what is judged is softmax(W h + b) of three."""
  (run, grams), alone = gated, loaded['causal']
  for tree, before in (
    (run.params | {'context': {}}, alone.params | {'context': {}}),
    (run.params['context']['1'], grams.params),
  ):
    jax.tree.map(np.testing.assert_array_equal, tree, before)
  rows = tiny.metrics(run.folder)
  losses = [row['train/loss'] for row in rows if 'train/loss' in row]
  assert losses[-1] < losses[0] - 0.1
  gate = jax.device_get(run.params['context']['gate'])
  assert np.abs(gate['kernel']).max() > 0.01
  t = run.tokenizer
  row = [t.bos_id, *t.encode('the cat sees the moon')][:20]
  logps, hidden = told(alone, row)
  near, other = cached(row, logps, hidden, 0.2, 7), told(grams, row)[0]
  logits = hidden @ gate['kernel'] + gate['bias']
  w = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  p = np.exp(np.stack([logps, near, other], 1))
  want = np.log(np.einsum('lk,lkv->lv', w, p))
  (got,) = score.scores(run, [row])
  picked = want[range(len(row) - 1), row[1:]]
  np.testing.assert_allclose(got, picked, atol=2e-5)
  np.testing.assert_allclose(written(run, row), want[-3:], atol=1e-4)
  judged = judging.judge(run.folder)
  (logged,) = [r['eval/lm/loss'] for r in rows if 'eval/lm/loss' in r]
  assert judged.metrics['eval/lm/loss'] == pytest.approx(logged, abs=1e-6)


def written(run, row):
  """Returns log p [3, v] at the end of a row, of which two ids are written."""

  @jax.jit
  def steps(params):
    prompts = decoder.Prompts(
      jnp.array([row[:-2]]), jnp.zeros(1, jnp.int32), ahead=2
    )
    said, cache = run.model.begin(params, prompts)
    more, _ = run.model.advance(params, jnp.array([row[-2:]]), cache)
    return jnp.concatenate([said[:, None], more], 1)[0]

  return steps(run.params)


def test_what_goes_without_contexts_says_so(gated, tmp_path):
  run, _ = gated
  with pytest.raises(UserError, match='was trained with contexts around it'):
    conversion.convert(run.folder, to=tmp_path / 'a')
  with pytest.raises(UserError, match='was trained with contexts around it'):
    widening.widen(run, ['neural_cache'])


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'context': {}}, 'config.gate=True weighs contexts'),
    ({'context': {'a': {'name': 'nearest', 'store': 'x'}}}, 'no datastore'),
    (
      {'context': {'a': {'name': 'neural_cash'}}},
      "Did you mean 'neural_cache'",
    ),
    ({'context': {'a': {'name': 'neural_cache', 'theta': -1.0}}}, 'a.theta='),
    ({'model': {'name': 'ngram', 'vocab_size': 0}}, 'is for decoders alone'),
  ],
)
def test_mistakes_are_one_line(runs, gated, tmp_path, changes, words):
  c = get_config(runs['causal'].workdir, gated[1].folder)
  c.init_from = ''
  with c.unlocked():
    for key, value in changes.items():
      del c[key]
      c[key] = value
  with pytest.raises(UserError, match=words):
    config.check(c)
    loop.train(c, tmp_path / 'run')
  assert not run_folder.is_one(tmp_path / 'run')
