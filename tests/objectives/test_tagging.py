"""Tags of words: places and losses by hand, BIO, mistakes."""

import collections
import functools
import pickle
import types

import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.data.views import parts as view
from ctxlm.errors import UserError
from ctxlm.evaluators import tagging as evaluator
from ctxlm.evaluators.bench import Bench
from ctxlm.objectives import tagging

NAMES = ('B-NP', 'I-NP', 'B-VP', 'I-VP', 'O')


@pytest.fixture
def tokenizer(tokenizer):
  """Words are runs of ids between dashes; an empty run has no piece."""
  tokenizer.fingerprint = 'runs'
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
    'tokens': ['5-6', '7', 'x', '8-9'],
    'tags': ['B-NP', 'I-NP', 'O', 'B-VP'],
    'part': 0,
  }
  row = build(tokenizer).prepare(record, None)
  assert row['tokens'].tolist() == [1, 5, 6, 7, 8, 9, 2, 0]
  assert row['weights'].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
  assert row['targets'].tolist() == [0, 0, 0, 1, 2, 0, 0, 0]
  # The third word has no piece.
  logits = np.eye(5)[[4, 0, 4, 1, 2, 4, 4, 4]]
  answer = build(tokenizer).answer(record, [logits])
  assert answer['tags'] == ['B-NP', 'I-NP', None, 'B-VP']
  assert answer['spans'] == [
    {'label': 'NP', 'first': 0, 'last': 1, 'text': '5-6 7'},
    {'label': 'VP', 'first': 3, 'last': 3, 'text': '8-9'},
  ]


def test_no_word_is_beyond_a_row(tokenizer, tmp_path, monkeypatch):
  """Each is in one part of its record, and its tag is that row's."""
  monkeypatch.setenv('CTXLM_CACHE', str(tmp_path))
  rng = np.random.default_rng(0)
  records = []
  for count in (1, 3, 25, 40):
    sizes = rng.choice(
      [0, 1, 1, 2, 9, 30], count, p=[0.1, 0.4, 0.2, 0.2, *[0.05] * 2]
    )
    tokens = ['-'.join('7' * n) or 'x' for n in sizes]
    tags = [NAMES[i] for i in 2 * rng.integers(0, 3, count)]
    records.append({'tokens': tokens, 'tags': tags})
  o = build(tokenizer, max_length=11)
  made = view.View.open(records, 'x', tokenizer, 11, o)
  parts = collections.defaultdict(list)
  for i in range(len(made)):
    example = pickle.loads(pickle.dumps(made)).read(i, None)
    number = records.index({k: example[k] for k in ('tokens', 'tags')})
    assert example['part'] == len(parts[number])
    parts[number].append(o.prepare(example, None))
  for number, record in enumerate(records):
    rows = parts[number]
    asked = o.ask(record)
    assert len(asked) == len(rows)
    for ids, row in zip(asked, rows):
      assert row['tokens'][: len(ids['tokens'])].tolist() == ids['tokens']
    # Logits that give each place its own target.
    logits = [np.eye(5)[row['targets']] for row in rows]
    blank = [t == 'x' for t in record['tokens']]
    found = o.answer(record, logits)['tags']
    assert found == [
      None if none else tag for tag, none in zip(record['tags'], blank)
    ]
    words = sum(row['weights'].sum() for row in rows)
    assert words == len(blank) - sum(blank)
    # Words at the middle of a long text have some before and behind them.
    for row in rows[1:]:
      if row['tokens'][1:-1].tolist() != [7] * 9:
        assert row['weights'][:2].tolist()[0] == 0
  assert len(parts[3]) > 4


def test_a_quarter_of_a_row_is_read_again():
  assert tagging._parts([1] * 20, 8) == [(0, 8), (6, 14), (12, 20)]
  assert tagging._parts([3, 8, 8, 1, 1], 8) == [(0, 1), (1, 2), (2, 3), (3, 5)]
  assert tagging._parts([0] * 3, 8) == [(0, 3)]
  assert tagging._parts([8, 0, 0, 8], 8) == [(0, 3), (1, 4)]


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
  few = [{'tokens': ['a'] * 3, 'tags': [10, 9, 0]}]
  numbered = build(labels=())
  assert numbered.settled(few) == {'labels': ('0', '9', '10')}
  with pytest.raises(UserError, match="the tag '1', which is none of the 3"):
    build(labels=('0', '9', '10')).target({'tokens': ['a'], 'tags': [1]})
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
    ({'tokens': ['a']}, "lacks the list 'tags'"),
    (
      {'words': ['a'], 'tags': ['O']},
      "lacks the list 'tokens'; it has .'tags', 'word",
    ),
  ],
)
def test_records_that_teach_nothing(record, wanted):
  with pytest.raises(UserError, match=wanted):
    build().target(record, 3)


def test_an_evaluator_looks_at_every_tag_first(tokenizer):
  words = {
    'tokens': ['5', '6', '7', 'x'],
    'tags': ['B-NP', 'I-NP', 'O', 'B-VP'],
  }
  records = [words] * 3
  asked, signed = [], {}

  def answers(task, records):
    asked.extend(records)
    # B-NP I-NP B-VP and no tag, of B-NP I-NP O B-VP: of 2 entities 1 is right.
    return [[np.eye(5)[[4, 0, 1, 2, 4]]] for _ in records]

  def bench(records, rehearses):
    task = types.SimpleNamespace(name='t', objective=build(tokenizer))
    made = types.SimpleNamespace(
      task=lambda name: task,
      view=lambda task, split: types.SimpleNamespace(records=records),
      enough=lambda count: rehearses,
      answers=answers,
      sign=signed.__setitem__,
    )
    made.labelled = functools.partial(Bench.labelled, made)
    return made

  run = evaluator.Evaluator().run
  found = run(bench(records, False))
  assert found['examples'] == 3 and found['accuracy'] == 1 / 2
  for name in ('precision', 'recall', 'f1', 'f1_low', 'f1_high'):
    assert found[name] == 1 / 2
  assert signed['f1'].startswith('scheme:conlleval|seqeval:')
  assert len(asked) == 3
  run(bench(records, True))
  assert len(asked) == 5
  bad = [*records, {'tokens': ['5'], 'tags': ['B-ADJP']}]
  with pytest.raises(UserError, match="split 'validation'.*record 3.*B-ADJP"):
    run(bench(bad, True))
