"""Models with contexts around them, against loops in numpy."""

import dataclasses
import types

import numpy as np
import pytest

from ctxlm import cli, context
from ctxlm.context import interpolate, neural_cache
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.inference import (
  judging,
  loading,
  passes,
  score,
  widening,
  writing,
)
from ctxlm.training import loop
from tests import tiny

CACHE = 'neural_cache:theta=0.2,window=7,weight=0.3'
TEXT = 'the cat sees the moon at 3. the cat sees it'


def counted(folder, runs, name='ngram', **options):
  """Trains another model with the causal run's tokenizer; returns `folder`."""
  c = tiny.get_config('causal')
  c.num_steps = 0
  c.optimizer.warmup_steps = 0
  c.model = {'name': name, **options}
  c.tokenizer.kind = 'file'
  c.tokenizer.path = str(runs['causal'].workdir / 'tokenizer')
  loop.train(c, folder)
  return folder


@pytest.fixture(scope='module')
def folders(runs, tmp_path_factory):
  """{kind: folder} of models of one tokenizer."""
  here = tmp_path_factory.mktemp('models')
  lstm = {'hidden_size': 16, 'num_layers': 1}
  return {
    'transformer': runs['causal'].workdir,
    'ngram': counted(here / 'ngram', runs, order=3),
    'recurrent': counted(here / 'lstm', runs, 'recurrent', **lstm),
  }


@pytest.fixture(scope='module')
def opened(loaded, folders):
  """{kind: Loaded}, which keep what is compiled."""
  own = {'transformer': loaded['causal']}
  return {k: own.get(k) or loading.load(f) for k, f in folders.items()}


def _both(apply, batch):
  def forward(model):
    hidden = passes.read(model, batch)
    return model.logits(hidden), hidden

  return apply(forward)


def told(loaded, row):
  """Returns (log p [l, v], hidden [l, m]) of a row by a model alone."""
  (both,) = loaded.passes(_both, [{'tokens': list(row)}])
  logits, hidden = (x[: len(row)].astype(np.float64) for x in both)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), hidden


def pieces(bench, split='validation'):
  """Returns the ids of each document's piece in the rows of a split."""
  view, rows = bench.view(bench.task(), split), []
  for i in range(len(view)):
    read = view.read(i, None)
    ids = read['segment_ids']
    rows += [read['tokens'][ids == s].tolist() for s in range(1, ids.max() + 1)]
  return [row for row in rows if len(row) > 1]


def cached(row, logps, hidden, theta, window):
  """Returns the cache's log p [l, v] by the paper's equations 2 and 3."""
  p = np.exp(logps)
  for t in range(1, len(row)):
    p[t] = 0
    for i in range(max(0, t - window), t):
      p[t, row[i + 1]] += np.exp(theta * hidden[t] @ hidden[i])
  with np.errstate(divide='ignore'):
    return np.log(p / p.sum(1, keepdims=True))


def mixed(loaded, row, other, share, cache=None):
  """Returns p [l, v]: the model, another's share of it, and the cache's.

  The cache is (theta, window, weight).
  """
  logps, hidden = told(loaded, row)
  out = (1 - share - (cache[2] if cache else 0)) * np.exp(logps)
  out += share * np.exp(told(other, row)[0])
  if cache is not None:
    *how, weight = cache
    out += weight * np.exp(cached(row, logps, hidden, *how))
  return out


CASES = [
  ('transformer', 'ngram', {'share': 0.2, 'cache': (0.2, 7, 0.3)}),
  ('ngram', 'recurrent', {'share': 0.4}),
]


@pytest.mark.parametrize('kind, other, how', CASES)
def test_evaluate_and_score_are_a_loop_in_numpy(
  folders, opened, tmp_path, kind, other, how
):
  text = tmp_path / 'text.txt'
  text.write_text(f'{TEXT}\n\na dog likes a river.\n\ntwo')
  said = [f'interpolate:model={folders[other]},weight={how["share"]}']
  said += [CACHE] if 'cache' in how else []
  evaluators = [('evaluators.lm.name', 'perplexity')]
  judged = judging.judge(
    folders[kind], overrides=evaluators, data=[str(text)], context=said
  )
  program, _, _ = judging.open_program(folders[kind], data=[str(text)])
  rows, loaded = pieces(program.bench), opened[kind]
  want = [
    np.log(
      mixed(loaded, row, opened[other], **how)[range(len(row) - 1), row[1:]]
    )
    for row in rows
  ]
  wide = widening.widen(loaded, said)
  for one, got in zip(want, score.scores(wide, rows), strict=True):
    np.testing.assert_allclose(got, one, atol=1e-5)
  want = -np.concatenate(want).mean()
  assert judged.metrics['eval/lm/loss'] == pytest.approx(want, abs=1e-5)
  assert np.isclose(judged.metrics['eval/lm/perplexity'], np.exp(want))


def test_a_beams_score_is_what_the_mixture_says_of_its_text(folders, opened):
  said = [f'interpolate:{folders["recurrent"]},weight=0.2', CACHE]
  loaded, other = opened['transformer'], opened['recurrent']
  c = build.config_of({'strategy': 'beam:num_beams=3', 'max_new_tokens': 8})
  c.show_probs = True
  generator, encode = writing.open_generator(loaded.folder, c, context=said)
  prompts = [encode(TEXT[:9]), encode('two')]
  for prompt, (one,) in zip(prompts, generator(prompts), strict=True):
    row = list(prompt)
    for token, logp in zip(one['tokens'], one['logps'], strict=True):
      p = mixed(loaded, row, other, 0.2, (0.2, 7, 0.3))[-1]
      assert logp == pytest.approx(np.log(p[token]), abs=1e-4)
      row.append(token)
    assert len(row) > len(prompt) + 3


def test_the_commands_take_contexts(folders, opened, capsys):
  own = f'--model={folders["transformer"]}'
  with pytest.raises(SystemExit):
    cli.main(['ctxlm', 'score', own, f'--context={CACHE}', f'--text={TEXT}'])
  printed = capsys.readouterr().out.splitlines()[-2].split()[-1]
  wide = widening.widen(opened['transformer'], [CACHE])
  assert float(printed) == pytest.approx(
    sum(score.score(wide, TEXT)[1]), abs=1e-3
  )


@pytest.mark.parametrize(
  'kind, said, words',
  [
    ('transformer', 'neural_cache:theta=inf', "theta='inf' must be a number"),
    ('transformer', 'neural_cache:theta=1e999', 'must be 0 or more and finite'),
    ('transformer', 'neural_cash:theta=1', "Did you mean 'neural_cache'"),
    ('ngram', 'neural_cache', 'no hidden vectors'),
    ('transformer', 'interpolate:nowhere', 'nowhere'),
    ('transformer', 'interpolate', "it needs 'model'"),
    ('transformer', 'interpolate:{mlm}', 'sees both sides'),
  ],
)
def test_mistakes_are_one_line(opened, runs, kind, said, words):
  said = said.format(mlm=runs['mlm'].workdir)
  with pytest.raises(UserError, match=words) as e:
    widening.widen(opened[kind], [said])
  assert '\n' not in str(e.value)


def test_models_of_two_tokenizers_are_not_mixed(opened):
  theirs = types.SimpleNamespace(fingerprint='of other tokens')
  other = dataclasses.replace(opened['ngram'], tokenizer=theirs)
  with pytest.raises(UserError, match='has another tokenizer than'):
    interpolate.Context('ngram').open(opened['transformer'], lambda _: other)


def test_weights_leave_something_to_the_model():
  def weights(*own):
    return context.weights([neural_cache.Context(weight=w) for w in own])

  with pytest.raises(UserError, match='sum to more than 1'):
    weights(0.6, 0.5)
  np.testing.assert_allclose(weights(0.3, 0.2), [0.5, 0.3, 0.2])
