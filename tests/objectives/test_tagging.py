"""Tags of words: places and losses by hand, BIO, mistakes."""

import functools
import types

import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.evaluators import tagging as evaluator
from ctxlm.evaluators.bench import Bench
from ctxlm.objectives import tagging

NAMES = ('B-NP', 'I-NP', 'B-VP', 'I-VP', 'O')


@pytest.fixture
def tokenizer(tokenizer):
  """Words are runs of ids between dashes; an empty run has no piece."""
  tokenizer.encode_batch = lambda texts, data: [
    [int(i) for i in text.strip().split('-') if i != 'x'] for text in texts
  ]
  return tokenizer


def build(tokenizer=None, max_length=8, **options):
  block = {'name': 'tagging', 'labels': NAMES} | options
  given = {'tokenizer': tokenizer, 'max_length': max_length}
  return plugins.build('objectives', block, **given)


def test_a_label_stands_at_the_first_piece_of_its_word(tokenizer):
  record = {
    'tokens': ['5-6', '7', 'x', '8-9-10', '11'],
    'tags': ['B-NP', 'I-NP', 'O', 'B-VP', 'O'],
  }
  row = build(tokenizer).prepare(record, None)
  assert row['tokens'].tolist() == [1, 5, 6, 7, 8, 9, 10, 2]
  assert row['weights'].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
  assert row['targets'].tolist() == [0, 0, 0, 1, 2, 0, 0, 0]
  # The third word has no piece, and the last is cut off.
  logits = np.eye(5)[[4, 0, 4, 1, 2, 4, 4, 4]]
  answer = build(tokenizer).answer(record, [logits])
  assert answer['tags'] == ['B-NP', 'I-NP', None, 'B-VP', None]
  assert answer['spans'] == [
    {'label': 'NP', 'first': 0, 'last': 1, 'text': '5-6 7'},
    {'label': 'VP', 'first': 3, 'last': 3, 'text': '8-9-10'},
  ]


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_loss_is_the_mean_over_words(smoothing):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 4, 5)).astype(np.float32)
  targets = rng.integers(0, 5, (2, 4))
  weights = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.float32)
  valid = np.array([1, 0], np.float32)
  batch = {'targets': targets, 'weights': weights, 'valid': valid}
  batch = {k: jnp.asarray(v) for k, v in batch.items()}
  apply = lambda params, fn, rng: jnp.asarray(logits)  # noqa: E731
  o = build(label_smoothing=smoothing)
  found = {
    k: float(n / d) for k, (n, d) in o.loss(apply, 0, batch, None).items()
  }
  logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  q = (1 - smoothing) * np.eye(5)[targets] + smoothing / 5
  w = weights * valid[:, None]
  assert found['loss'] == pytest.approx(
    -(w[..., None] * q * logp).sum() / 2, rel=1e-5
  )
  right = ((logits.argmax(-1) == targets) * w).sum() / 2
  assert found['accuracy'] == pytest.approx(right)


def test_labels_of_the_data():
  records = [
    {'tokens': ['a', 'b'], 'tags': ['B-NP', 'I-NP']},
    {'tokens': ['c'], 'tags': 'O'},
  ]
  o = build(labels=())
  assert o.settled(records) == {'labels': ('B-NP', 'I-NP', 'O')}
  assert build(labels=('B-NP', 'I-NP', 'O')).settled(records) == {}
  numbers = build().target({'tokens': ['a', 'b'], 'tags': [4, 0]})
  assert numbers.tolist() == [4, 0]


def test_spans():
  tags = ['I-NP', 'I-NP', 'B-NP', 'I-VP', None, 'O', 'B-VP', 'I-VP']
  assert tagging.spans(tags) == [
    ('NP', 0, 2), ('NP', 2, 3), ('VP', 3, 4), ('VP', 6, 8)
  ]  # fmt: skip
  assert tagging.is_bio(NAMES) and not tagging.is_bio(('NN', 'O', 'VB'))


@pytest.mark.parametrize(
  'record, wanted',
  [
    ({'tokens': ['a', 'b'], 'tags': ['O']}, 'record 3 has 2 words and 1 tags'),
    ({'tokens': ['a'], 'tags': ['B-PP']}, "'B-PP', which is none of the 5"),
    ({'tokens': ['a'], 'tags': ['5']}, "'5', which is none of the 5"),
    ({'tokens': ['a'], 'tags': ['I-NP']}, 'word 1: I-NP goes on .* behind O'),
    (
      {'tokens': ['a', 'b'], 'tags': ['B-VP', 'I-NP']},
      'word 2: I-NP goes on .* behind B-VP: begin it with B-NP',
    ),
    ({'tokens': [], 'tags': []}, 'has no words'),
    ({'tokens': ['a', ''], 'tags': ['O', 'O']}, 'or an empty one'),
    ({'tokens': ['a']}, "no list 'tags'"),
    (
      {'words': ['a'], 'tags': ['O']},
      "no list 'tokens'; it has .'tags', 'word",
    ),
  ],
)
def test_records_that_teach_nothing(record, wanted):
  with pytest.raises(UserError, match=wanted):
    build().target(record, 3)


def test_metrics_by_hand():
  wanted = [['B-NP', 'I-NP', 'O', 'B-VP'], ['B-NP', 'O']]
  found = [['B-NP', 'I-NP', 'B-VP', None], ['B-NP', 'I-NP']]
  metrics = evaluator.scores(wanted, found, True)
  # Of 3 spans wanted and 3 found, one is right.
  assert metrics == {
    'accuracy': 3 / 6,
    'precision': pytest.approx(1 / 3),
    'recall': pytest.approx(1 / 3),
    'f1': pytest.approx(1 / 3),
  }
  assert evaluator.scores(wanted, found, False) == {'accuracy': 3 / 6}


def test_an_evaluator_looks_at_every_tag_first(tokenizer):
  records = [{'tokens': ['5', '6'], 'tags': ['B-NP', 'O']}] * 3
  asked = []

  def answers(task, records):
    asked.extend(records)
    return [[np.eye(5)[[4, 0, 1, 4]]] for _ in records]

  def bench(records, rehearses):
    view = type('View', (), {
      '__len__': lambda self: len(records),
      'read': lambda self, i, rng: records[i],
    })()  # fmt: skip
    task = types.SimpleNamespace(name='t', objective=build(tokenizer))
    made = types.SimpleNamespace(
      task=lambda name: task,
      view=lambda task, split: view,
      enough=lambda count: rehearses,
      answers=answers,
    )
    made.labelled = functools.partial(Bench.labelled, made)
    return made

  run = evaluator.Evaluator().run
  found = run(bench(records, False))
  assert found['examples'] == 3 and found['accuracy'] == 1 / 2
  assert found['f1'] == 0 and len(asked) == 3
  run(bench(records, True))
  assert len(asked) == 5
  bad = [*records, {'tokens': ['5'], 'tags': ['B-ADJP']}]
  with pytest.raises(UserError, match="split 'validation'.*record 3.*B-ADJP"):
    run(bench(bad, True))
