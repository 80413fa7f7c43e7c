"""Contexts in the loss: a gate that is trained, in one loop with the model."""

import jax
import numpy as np
import pytest

from ctxlm import cli, config
from ctxlm.errors import UserError
from ctxlm.inference import conversion, judging, loading, score
from ctxlm.training import loop, run_folder
from tests import tiny
from tests.context.test_widened import cached, counted


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
  """(run folder, its first loss, the n-grams' folder)."""
  here = tmp_path_factory.mktemp('gated')
  grams = counted(here / 'ngram', runs, order=3)
  c = get_config(runs['causal'].workdir, grams)
  loop.train(c, here / 'run')
  return here / 'run', grams


def said(loaded, grams, row):
  """Returns p [l, 3, v] of model, cache and n-grams; hidden [l, m]."""
  tokens = np.array([row])

  @jax.jit
  def own(params):
    hidden = base.apply({'params': params}, tokens)
    logits = base.apply({'params': params}, hidden, method=base.logits)
    return jax.nn.log_softmax(logits)[0], hidden[0]

  base = loaded.model.model
  logps, hidden = (np.asarray(x, np.float64) for x in own(loaded.params))
  near = cached(row, logps, hidden, 0.2, 7)
  rows = {'params': grams.params}
  ends = grams.model.apply(rows, tokens)
  other = grams.model.apply(rows, ends, method=grams.model.logits)[0]
  return np.exp(np.stack([logps, near, other], 1)), hidden


def test_the_gate_is_trained_with_the_loss(runs, gated):
  """The rest stays; what is judged is softmax(W h + b) of three."""
  folder, path = gated
  loaded, grams = loading.load(folder), loading.load(path)
  before = runs['causal'].params
  for name in before:
    jax.tree.map(
      np.testing.assert_array_equal, loaded.params[name], before[name]
    )
  jax.tree.map(
    np.testing.assert_array_equal, loaded.params['context']['1'], grams.params
  )
  rows = tiny.metrics(folder)
  losses = [row['train/loss'] for row in rows if 'train/loss' in row]
  assert losses[-1] < losses[0] - 0.1
  gate = jax.device_get(loaded.params['context']['gate'])
  assert np.abs(gate['kernel']).max() > 0.01
  t = loaded.tokenizer
  row = [t.bos_id, *t.encode('the cat sees the moon')][:20]
  p, hidden = said(loaded, grams, row)
  logits = hidden @ gate['kernel'] + gate['bias']
  w = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  want = np.log(np.einsum('lk,lkv->lv', w, p))[range(len(row) - 1), row[1:]]
  (got,) = score.scores(loaded, [row])
  np.testing.assert_allclose(got, want, atol=2e-5)
  judged = judging.judge(folder)
  (logged,) = [r['eval/lm/loss'] for r in rows if 'eval/lm/loss' in r]
  assert judged.metrics['eval/lm/loss'] == pytest.approx(logged, abs=1e-6)


def test_what_goes_without_contexts_says_so(gated, tmp_path, capsys):
  folder, _ = gated
  with pytest.raises(UserError, match='was trained with contexts around it'):
    conversion.convert(folder, to=tmp_path / 'a')
  with pytest.raises(SystemExit):
    cli.main(
      [
        'ctxlm',
        'score',
        f'--model={folder}',
        '--context=neural_cache',
        '--text=a',
      ]
    )
  assert 'trained with contexts around it' in capsys.readouterr().err


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
  c = get_config(runs['causal'].workdir, gated[1])
  c.init_from = ''
  with c.unlocked():
    for key, value in changes.items():
      del c[key]
      c[key] = value
  with pytest.raises(UserError, match=words):
    config.check(c)
    loop.train(c, tmp_path / 'run')
  assert not run_folder.is_one(tmp_path / 'run')
