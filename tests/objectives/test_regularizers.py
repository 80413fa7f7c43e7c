"""R-Drop, cut-off and mix-up: by their formulas, and row by row."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.data.views import mixed
from ctxlm.errors import UserError
from ctxlm.models.variables import make_apply
from ctxlm.objectives import losses
from ctxlm.objectives import task as task_lib
from ctxlm.training import fit

KEY = jax.random.key(3)
NAMES = ('no', 'maybe', 'yes')
TEXTS = ('10 11 12 13', '14', '15 16 17 18 19', '20 21', '22 23 24', '25 26')
MODEL = {
  'name': 'transformer',
  'vocab_size': 50,
  'hidden_size': 8,
  'num_layers': 1,
  'num_heads': 2,
  'max_length': 8,
  'init_stddev': 0.5,
  'causal': False,
}


def log_softmax(x):
  x = np.asarray(x, np.float64)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(p, q):
  return (np.exp(p) * (p - q)).sum(-1)


def build(tokenizer, regularizer, name='classification', **options):
  block = {'name': name, 'regularizer': regularizer} | options
  return plugins.build('objectives', block, tokenizer=tokenizer, max_length=8)


def case(tokenizer, regularizer, dropout=0.2, **options):
  """Returns (objective, apply, parameters, batch of six examples)."""
  o = build(tokenizer, regularizer, labels=NAMES, pooling='mean', **options)
  records = [{'text': t, 'label': i % 3} for i, t in enumerate(TEXTS)]
  view = mixed.View(records, 'x')
  rows = []
  for i in range(len(records)):
    rng = np.random.default_rng(i)
    rows.append(o.prepare(view.read(i, rng), rng))
  batch = {k: jnp.asarray([row[k] for row in rows]) for k in rows[0]}
  batch['index'] = jnp.arange(10, 16)
  batch['valid'] = jnp.asarray([1.0, 1, 1, 0, 1, 1])
  model = plugins.build('models', MODEL | {'dropout': dropout})
  task = task_lib.Task('task', o)
  params = task_lib.init_params(
    model, [task], {'task': batch}, jax.random.key(0)
  )
  apply = jax.jit(make_apply(model), static_argnums=1)
  return o, apply, params, batch


def outputs(case, batch, rows, edit=None):
  o, apply, params, _ = case

  def run(model):
    return o.outputs(model, batch, rows, edit=edit)

  return np.asarray(apply(params, run, KEY))


def sums(case, batch=None):
  o, apply, params, whole = case
  found = o.loss(apply, params, whole if batch is None else batch, KEY)
  return {name: np.array(pair) for name, pair in found.items()}


def nats(logits, target):
  return -log_softmax(logits)[np.arange(len(target)), target]


def test_divergences():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 5, 4, 3))
  p, q = log_softmax(a), log_softmax(b)
  wanted = (kl(p, q) + kl(q, p)) / 2
  np.testing.assert_allclose(losses.symmetric_kl(a, b), wanted, rtol=1e-5)
  m = np.log((np.exp(p) + np.exp(q)) / 2)
  wanted = (kl(p, m) + kl(q, m)) / 2
  np.testing.assert_allclose(losses.jensen_shannon(a, b), wanted, rtol=1e-4)


def test_r_drop(tokenizer):
  made = case(tokenizer, {'name': 'r_drop', 'weight': 3.0})
  o, _, _, batch = made
  assert o.terms == {'loss': 1.0, 'divergence': 3.0}
  a, b = (outputs(made, batch, 2 * batch['index'] + i) for i in range(2))
  assert np.abs(a - b).max() > 0.1
  valid, target = np.array(batch['valid']), np.array(batch['target'])
  found = sums(made)
  wanted = ((nats(a, target) + nats(b, target)) * valid).sum(), 2 * valid.sum()
  np.testing.assert_allclose(found['loss'], wanted, rtol=1e-5)
  p, q = log_softmax(a), log_softmax(b)
  wanted = ((kl(p, q) + kl(q, p)) / 2 * valid).sum(), valid.sum()
  np.testing.assert_allclose(found['divergence'], wanted, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['token', 'span', 'feature'])
def test_cutoff(tokenizer, kind):
  block = {'name': 'cutoff', 'kind': kind, 'share': 0.4, 'cut_weight': 2.0}
  made = case(tokenizer, block)
  o, _, _, batch = made
  assert o.terms == {'loss': 1.0, 'erased': 2.0, 'divergence': 1.0}
  rows = 2 * batch['index'] + 1
  used = batch['segment_ids'] > 0
  erased = np.asarray(
    o.regularizer.erased(jax.random.fold_in(KEY, 1), rows, used, 8)
  )
  lengths = np.asarray(used.sum(1))
  if kind == 'feature':
    assert erased.shape == (6, 1, 8) and (erased.sum((1, 2)) == 3).all()
  else:
    places = erased[..., 0]
    assert (places.sum(1) == np.round(0.4 * lengths)).all()
    assert not (places & ~np.asarray(used)).any()
    if kind == 'span':
      runs = np.diff(places.astype(int), axis=1, prepend=0) == 1
      assert (runs.sum(1) == 1).all()
  assert len({row.tobytes() for row in erased}) > 3
  whole = outputs(made, batch, rows - 1)
  cut = outputs(made, batch, rows, lambda x, depth: x if depth else x * ~erased)
  valid, target = np.array(batch['valid']), np.array(batch['target'])
  p, q = log_softmax(whole), log_softmax(cut)
  m = np.log((np.exp(p) + np.exp(q)) / 2)
  wanted = {
    'loss': nats(whole, target),
    'erased': nats(cut, target),
    'divergence': (kl(p, m) + kl(q, m)) / 2,
  }
  for name, values in wanted.items():
    pair = (values * valid).sum(), valid.sum()
    np.testing.assert_allclose(sums(made)[name], pair, rtol=1e-4, err_msg=name)


def test_mixup(tokenizer):
  block = {'name': 'mixup', 'alpha': 2.0, 'layers': (0, 1)}
  made = case(tokenizer, block, dropout=0.0)
  o, _, _, batch = made
  assert o.view == 'mixed' and o.terms == {'loss': 1.0}
  other = {
    name.removeprefix('other_'): x
    for name, x in batch.items()
    if name.startswith('other_')
  }
  depth, share = np.array(batch['depth']), np.array(batch['share'])
  assert {*depth} == {0, 1} and len({*share}) == 6
  states = {}  # what each would be after each block

  def keep(name):
    def edit(x, depth):
      jax.debug.callback(lambda x: states.update({(name, depth): x}), x)
      return x

    return edit

  pair = {'own': batch, 'other': batch | other}
  for name, one in pair.items():
    outputs(made, one, None, keep(name))
  jax.effects_barrier()
  both = np.array(batch['segment_ids'] > 0) & np.array(other['segment_ids'] > 0)
  total = np.zeros(2)
  for mine, theirs in (('own', 'other'), ('other', 'own')):

    def edit(x, at, mine=mine, theirs=theirs):
      s = share[:, None, None]
      blend = s * states[mine, at] + (1 - s) * states[theirs, at]
      here = both & (depth == at)[:, None]
      return jnp.where(here[..., None], blend, x)

    logits = outputs(made, pair[mine], None, edit)
    valid = np.array(batch['valid'])
    for weight, labels in ((share, mine), (1 - share, theirs)):
      weight = weight * valid
      value = nats(logits, np.array(pair[labels]['target']))
      total += (weight * value).sum(), weight.sum()
  np.testing.assert_allclose(sums(made)['loss'], total, rtol=1e-4)
  assert total[1] == pytest.approx(10)


@pytest.mark.parametrize(
  'block',
  [{'name': 'r_drop'}, {'name': 'cutoff'}, {'name': 'mixup'}],
  ids=lambda block: block['name'],
)
def test_sums_are_those_of_the_rows(tokenizer, block):
  """So a batch may be cut among micro-batches and devices at will."""
  made = case(tokenizer, block)
  whole = sums(made)
  parts = [
    sums(made, jax.tree.map(lambda x, at=at: x[at], made[3]))
    for at in (np.array([4, 1, 0]), np.array([2, 5, 3]))
  ]
  for name, pair in whole.items():
    np.testing.assert_allclose(pair, parts[0][name] + parts[1][name], 1e-5)
  # Evaluations are plain.
  o, apply, params, batch = made
  plain = o.loss(apply, params, batch, None)
  assert plain.keys() == {'loss', 'accuracy'}


def test_scores_and_several_classes(tokenizer):
  a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
  batch = {'valid': jnp.array([1.0, 0, 1, 1])}
  o = build(tokenizer, {'name': 'r_drop'}, kind='score')
  found = o.divergence(a[:, :1], b[:, :1], batch, losses.symmetric_kl)
  wanted = ((a - b)[:, 0] ** 2 * batch['valid']).sum()
  np.testing.assert_allclose(found, (wanted, 3), rtol=1e-5)
  o = build(tokenizer, {'name': 'r_drop'}, kind='classes', labels=NAMES)
  found = o.divergence(a, b, batch, losses.symmetric_kl)
  p, q = (np.stack([-np.log1p(np.exp(-x)), -np.log1p(np.exp(x))], -1)
          for x in (a, b))  # fmt: skip
  each = (kl(p, q) + kl(q, p)) / 2
  wanted = (each * batch['valid'][:, None]).sum()
  np.testing.assert_allclose(found, (wanted, 9), rtol=1e-4)


@pytest.mark.parametrize('name', ['causal', 'seq2seq', 'tagging'])
def test_tokens(name):
  """The divergence is the mean over what is learned."""
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 2, 4, 5))
  weights = np.array([[0, 1, 1, 0], [1, 1, 0, 1]], np.float32)
  batch = {
    'weights': weights,
    'target_segments': weights.astype(int),
    'valid': jnp.array([1.0, 0]),
  }
  o = plugins.build(
    'objectives', {'name': name, 'regularizer': {'name': 'r_drop'}}
  )
  found = o.divergence(a, b, batch, losses.symmetric_kl)
  p, q = log_softmax(a), log_softmax(b)
  wanted = ((kl(p, q) + kl(q, p)) / 2 * weights)[0].sum()
  np.testing.assert_allclose(found, (wanted, 2), rtol=1e-4)
  assert o.terms == {'loss': 1.0, 'divergence': 1.0}


@pytest.mark.parametrize(
  'name, block, wanted',
  [
    ('tagging', {'name': 'mixup'}, 'tagging has no labels that can be mixed'),
    ('causal', {'name': 'cutoff'}, 'causal takes none that changes what'),
    ('seq2seq', {'name': 'cutoff'}, 'seq2seq takes none that changes what'),
    ('classification', {'name': 'mixup', 'layers': ()}, 'name one at least'),
    ('classification', {'name': 'r_dorp'}, "Did you mean 'r_drop'"),
    ('classification', {'name': 'cutoff', 'share': 1.0}, 'share=1.0 must be'),
  ],
)
def test_options_that_can_not_be(name, block, wanted):
  with pytest.raises(UserError, match=wanted):
    build(None, block, name)


@pytest.mark.parametrize(
  'block, model, wanted',
  [
    ({'name': 'r_drop'}, {}, 'the model has no dropout'),
    ({'name': 'mixup', 'layers': (0, 2)}, {}, 'the model has 1 layers'),
    (
      {'name': 'mixup', 'layers': (1,)},
      {'scan_layers': True},
      'only the embeddings',
    ),
    ({'name': 'cutoff'}, {'name': 'encoder_decoder'}, 'without an encoder-de'),
    ({'name': 'mixup'}, {'name': 'encoder_decoder'}, 'without an encoder-de'),
  ],
)
def test_models_that_can_not_be(block, model, wanted):
  options = dict(MODEL) | model
  if 'name' in model:
    del options['causal']
  task = task_lib.Task('t', build(None, block))
  config = types.SimpleNamespace(
    batch_size=8, model=types.SimpleNamespace(name='x')
  )
  made = plugins.build('models', options)
  with pytest.raises(UserError, match=wanted):
    fit.check_parts(config, made, [task])
