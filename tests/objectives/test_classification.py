"""Classes and scores: losses by formula, what the data decides, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.models.variables import make_apply
from ctxlm.objectives import task as task_lib

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 3)).astype(np.float32)
VALID = np.array([1, 1, 0, 1, 1], np.float32)
NAMES = ('no', 'maybe', 'yes')


def build(given=None, **options):
  block = {'name': 'classification'} | options
  return plugins.build('objectives', block, **(given or {}))


def sums(objective, target, logits=LOGITS):
  """Returns {name: numerator / denominator} of logits that a head gives."""
  batch = {'target': jnp.asarray(target), 'valid': jnp.asarray(VALID)}
  apply = lambda params, fn, rng: jnp.asarray(logits)  # noqa: E731
  found = objective.loss(apply, None, batch, None)
  return {name: float(n / d) for name, (n, d) in found.items()}


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
@pytest.mark.parametrize('weights', [(), (0.5, 1.0, 3.0)])
def test_loss_of_a_class(smoothing, weights):
  o = build(labels=NAMES, label_smoothing=smoothing, class_weights=weights)
  target = np.array([0, 2, 1, 2, 1])
  found = sums(o, target)
  # sum_i w_i * -sum_c q_ic log p_ic / sum_i w_i, q = (1 - e) one-hot + e / 3.
  logp = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
  q = (1 - smoothing) * np.eye(3)[target] + smoothing / 3
  w = np.array(weights or (1, 1, 1))[target] * VALID
  wanted = (w * -(q * logp).sum(1)).sum() / w.sum()
  assert found['loss'] == pytest.approx(wanted, rel=1e-5)
  right = (LOGITS.argmax(1) == target)[VALID > 0].mean()
  assert found['accuracy'] == pytest.approx(right)
  if smoothing or weights:
    nats = -(logp[np.arange(5), target] * VALID).sum() / 4
    assert found['nats'] == pytest.approx(nats, rel=1e-5)
  else:
    labels = torch.tensor(np.where(VALID, target, -100))
    theirs = F.cross_entropy(torch.tensor(LOGITS), labels)
    assert found['loss'] == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
@pytest.mark.parametrize('weights', [(), (0.5, 1.0, 3.0)])
def test_loss_of_several_classes(smoothing, weights):
  o = build(
    kind='classes',
    labels=NAMES,
    label_smoothing=smoothing,
    class_weights=weights,
  )
  target = RNG.integers(0, 2, (5, 3)).astype(np.float32)
  found = sums(o, target)
  soft = (1 - smoothing) * target + smoothing / 2
  w = np.broadcast_to(np.array(weights or (1, 1, 1)), (5, 3)) * VALID[:, None]
  theirs = F.binary_cross_entropy_with_logits(
    torch.tensor(LOGITS),
    torch.tensor(soft),
    torch.tensor(w),
    reduction='sum',
  )
  assert found['loss'] == pytest.approx(float(theirs) / w.sum(), rel=1e-5)
  right = ((LOGITS > 0) == (target > 0)).all(1)[VALID > 0].mean()
  assert found['accuracy'] == pytest.approx(right)


def test_loss_of_a_score():
  target = np.array([0.5, 4, 3, 2, 1], np.float32)
  found = sums(build(kind='score', range=(0, 5)), target, LOGITS[:, :1])
  errors = ((LOGITS[:, 0] - target) ** 2)[VALID > 0]
  assert found == {'loss': pytest.approx(errors.mean(), rel=1e-5)}


@pytest.mark.parametrize(
  'pooling, causal',
  [
    ('first', False),
    ('mean', False),
    ('pooled', False),
    ('last', False),
    ('pooled', True),
    ('', True),
  ],
)
def test_vector_that_the_head_reads(tokenizer, pooling, causal):
  """By numpy, of hidden states whose padding holds anything."""
  given = {'tokenizer': tokenizer, 'max_length': 6}
  o = build(given, labels=NAMES, pooling=pooling)
  block = {'name': 'transformer', 'vocab_size': 50, 'hidden_size': 8}
  block |= {'num_layers': 1, 'num_heads': 2, 'max_length': 6, 'causal': causal}
  model = plugins.build('models', block | {'init_stddev': 0.5})
  texts = ('10 11 12', '13', '10 11 12 13 14 15 16')
  rows = [o.prepare({'text': t, 'label': 1}, RNG) for t in texts]
  batch = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
  batch |= {'valid': np.ones(3, np.float32), 'index': np.arange(3)}
  assert batch['tokens'][2].tolist() == [1, 10, 11, 12, 13, 2]
  task = task_lib.Task('task', o)
  params = task_lib.init_params(
    model, [task], {'task': batch}, jax.random.key(0)
  )

  @jax.jit
  def both(params):
    def forward(model):
      hidden = model(batch['tokens'], segment_ids=batch['segment_ids'])
      return hidden, o.outputs(model, batch)

    return make_apply(model)(params, forward)

  hidden, found = map(np.asarray, both(params))
  head = params['heads']['classification']['dense']
  parts = [h[: len(t.split()) + 2] for h, t in zip(hidden, texts)]
  last = np.array([part[-1] for part in parts])
  vectors = {
    'first': hidden[:, 0],
    'last': last,
    'mean': np.array([part.mean(0) for part in parts]),
    'pooled': last if causal else hidden[:, 0],
    '': last,
  }[pooling]
  if pooling == 'pooled':
    dense = params['heads']['pooler']['dense']
    vectors = np.tanh(vectors @ dense['kernel'] + dense['bias'])
  wanted = vectors @ head['kernel']
  assert ('bias' in head) == (pooling != '')  # GPT-2's and LLaMA's has none
  np.testing.assert_allclose(found, wanted + head.get('bias', 0), atol=1e-5)


def test_the_data_decides_what_is_left_open():
  rows = [{'text': 'a', 'label': n} for n in (10, 9, 10, 2)]
  found = build(class_weights='balanced').settled(rows)
  assert found['labels'] == ('2', '9', '10') and found['pair'] is False
  # n / (classes * count), as scikit-learn has it.
  np.testing.assert_allclose(
    found['class_weights'], (4 / 3, 4 / 3, 2 / 3), 1e-5
  )
  pairs = [{'text_a': 'a', 'text_b': 'b', 'score': n} for n in (4, 1.5, '3')]
  found = build(kind='score').settled(pairs)
  assert found == {'range': (1.5, 4.0), 'pair': True}
  # float32 rounds both beyond them.
  scores = [{'text': 'a', 'score': s} for s in (0.08945710, 4.97013386)]
  own = build(kind='score', **build(kind='score').settled(scores))
  assert [float(own.target(s)) for s in scores] == pytest.approx(
    [0.089, 4.97], 1e-2
  )
  several = [{'text': 'a', 'label': n} for n in (['x', 'y'], 'z, x', [])]
  found = build(kind='classes').settled(several)
  assert found == {'labels': ('x', 'y', 'z'), 'pair': False}
  given = build(labels=('bad', 'good'), pair=False)
  assert given.settled([{'text': 'a', 'label': n} for n in (0, 'good')]) == {}


def test_targets():
  o = build(labels=NAMES)
  assert [int(o.target({'label': n})) for n in ('yes', 0, '1')] == [2, 0, 1]
  o = build(labels=('1', '0'))  # a name goes before a number
  assert [int(o.target({'label': n})) for n in (1, '0')] == [0, 1]
  stars = build(labels=('1', '2', '4', '5'))  # no place stands for a star
  for label in ('3', 0, '0'):
    with pytest.raises(UserError, match='none of the 4 labels'):
      stars.target({'label': label})
  o = build(kind='classes', labels=NAMES)
  for label in (['yes', 'no'], 'no,yes', [2, 0]):
    assert o.target({'label': label}).tolist() == [1, 0, 1]
  assert o.target({'label': []}).tolist() == [0, 0, 0]


def test_answers():
  logits = np.log([0.5, 0.2, 0.3])
  found = build(labels=NAMES).answer({}, [logits])
  assert found['label'] == 'no'
  wanted = {'no': 0.5, 'maybe': 0.2, 'yes': 0.3}
  assert found['probabilities'] == pytest.approx(wanted, abs=1e-6)
  found = build(kind='classes', labels=NAMES).answer(
    {}, [np.log(np.array([0.9 / 0.1, 0.5 / 0.5, 0.2 / 0.8]))]
  )
  assert found['labels'] == ['no']
  wanted = {'no': 0.9, 'maybe': 0.5, 'yes': 0.2}
  assert found['probabilities'] == pytest.approx(wanted, abs=1e-6)
  o = build(kind='score', range=(0.0, 5.0))
  scores = [o.answer({}, [np.array([x])])['score'] for x in (-1, 2.5, 9)]
  assert scores == [0.0, 2.5, 5.0]


RECORDS = (
  (
    {},
    {'text': 'a', 'label': 'perhaps'},
    "record 7 .*'perhaps'.*none of the 3",
  ),
  ({}, {'text': 'a', 'label': 3}, "'3', which is none of the 3"),
  ({}, {'text': 'a', 'label': -1}, "'-1', which is none of the 3"),
  ({}, {'text': 'a', 'label': ''}, "label '', which is none"),
  ({}, {'text': 'a'}, "lacks the field 'label'; it has .'text'."),
  ({}, {'text': ' ', 'label': 'no'}, "no text in 'text'"),
  ({'pair': True}, {'text': 'a', 'label': 0}, "lacks the field 'text_a'"),
  ({}, {'text_a': 'a', 'label': 0}, "lacks the field 'text_b'"),
  ({}, {'text_a': 'a', 'text_b': '', 'label': 0}, "no text in 'text_b'"),
  ({'kind': 'score'}, {'text': 'a', 'score': 'good'}, "'good', no number"),
  ({'kind': 'score'}, {'text': 'a', 'score': 'nan'}, "'nan', no number"),
  (
    {'kind': 'score', 'range': (0, 5)},
    {'text': 'a', 'score': 6},
    'score 6.0, out of range',
  ),
)


@pytest.mark.parametrize('options, record, wanted', RECORDS)
def test_records_that_teach_nothing(options, record, wanted):
  options = options if 'kind' in options else options | {'labels': NAMES}
  o = build(**options)
  with pytest.raises(UserError, match=wanted):
    o.texts(record, 7)
    o.target(record, 7)


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'kind': 'score', 'labels': NAMES}, 'has no labels'),
    ({'range': (0, 1)}, "of kind='score'"),
    ({'kind': 'score', 'range': (1, 0)}, 'least, most'),
    ({'labels': ('a', 'b', 'a')}, "'a' is there twice"),
    ({'labels': NAMES, 'class_weights': (1, 2)}, 'for each of the labels'),
    ({'labels': NAMES, 'class_weights': 'equal'}, "must be 'balanced'"),
    ({'labels': (1, 2)}, 'labels=.*: each a text'),
    ({'pooling': 'max'}, "'last' or 'mean'"),
  ],
)
def test_options_that_cannot_be(options, wanted):
  with pytest.raises(UserError, match=wanted):
    build(**options)


def test_data_that_has_no_classes():
  rows = [{'text': 'a', 'label': 'x'}] * 3
  with pytest.raises(UserError, match="all of the data has the label 'x'"):
    build().settled(rows)
  with pytest.raises(UserError, match='labels=.*must name two'):
    build(labels=('x',)).settled(rows)
  with pytest.raises(UserError, match="no example has the label 'maybe'"):
    build(labels=NAMES, class_weights='balanced').settled(
      [{'text': 'a', 'label': n} for n in (0, 2)]
    )

  class Many:
    def __len__(self):
      return 10**6

    def __getitem__(self, i):
      return {'text': 'a', 'label': i / 7}

  with pytest.raises(UserError, match="set kind='score'"):
    build().settled(Many())
