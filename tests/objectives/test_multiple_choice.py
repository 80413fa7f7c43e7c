"""Choices: the loss by formula, records of any number of them, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.models.variables import make_apply
from ctxlm.objectives import task as task_lib

RECORDS = [
  {'text': '10 11', 'choices': ['12', '13 14'], 'label': 1},
  {'text': '10', 'choices': ['12', '13', '15'], 'label': '13'},
  {'text': '9 9', 'choices': ['12', '13', '15'], 'label': 'C'},
]


def build(given=None, **options):
  block = {'name': 'multiple_choice'} | options
  return plugins.build('objectives', block, **(given or {}))


@pytest.fixture(scope='module')
def setting():
  """A model, and its options' block."""
  block = {'name': 'transformer', 'vocab_size': 50, 'hidden_size': 8}
  block |= {'num_layers': 1, 'num_heads': 2, 'max_length': 8, 'causal': False}
  return plugins.build('models', block | {'init_stddev': 0.5})


def test_loss_is_that_of_the_choices_that_there_are(tokenizer, setting):
  o = build({'tokenizer': tokenizer, 'max_length': 8}, choices=4)
  rng = np.random.default_rng(0)
  examples = [o.prepare(record, rng) for record in RECORDS]
  batch = {k: np.stack([e[k] for e in examples]) for k in examples[0]}
  valid = np.array([1, 1, 0], np.float32)
  batch |= {'valid': valid, 'index': np.arange(3)}
  assert batch['tokens'].shape == (3, 4, 8)
  assert batch['offered'].sum(1).tolist() == [2, 3, 3]
  assert batch['target'].tolist() == [1, 1, 2]
  # A pair, [CLS] text [SEP] choice [SEP].
  assert batch['tokens'][0, 1].tolist() == [1, 10, 11, 2, 13, 14, 2, 0]
  task = task_lib.Task('task', o)
  params = task_lib.init_params(
    setting, [task], {'task': batch}, jax.random.key(0)
  )
  apply = make_apply(setting)
  sums = jax.jit(lambda p: o.loss(apply, p, batch, None))(params)
  ask = jax.jit(lambda p, b: apply(p, lambda m: o.outputs(m, b)))
  nats, right = [], []
  for record in RECORDS[:2]:
    rows = [
      {k: np.pad(x, (0, 8 - len(x))) for k, x in row.items()}
      | {'segment_ids': (np.arange(8) < len(row['tokens'])).astype(np.int32)}
      for row in o.ask(record)
    ]
    scores = ask(params, {k: jnp.stack([r[k] for r in rows]) for k in rows[0]})
    scores = np.asarray(scores, np.float64)
    p = np.exp(scores) / np.exp(scores).sum()
    target = o.target(record)
    nats.append(-np.log(p[target]))
    right.append(p.argmax() == target)
    answer = o.answer(record, scores)
    assert answer['probabilities'] == pytest.approx(p.tolist(), abs=1e-6)
    assert answer['choice'] == record['choices'][answer['label']]
  (loss, count), (hits, _) = sums['loss'], sums['accuracy']
  assert float(count) == 2 and float(hits) == sum(right)
  assert float(loss) == pytest.approx(sum(nats), rel=1e-4)


def test_the_data_says_how_many_there_are():
  assert build().settled(RECORDS) == {'choices': 3}
  assert build(choices=3).settled(RECORDS) == {}
  with pytest.raises(UserError, match='has 3 choices, more than choices=2'):
    build(choices=2).settled(RECORDS)


def test_a_question_stands_in_front_of_each_choice():
  record = RECORDS[0] | {'question': 'which'}
  assert build().texts(record) == [
    ('10 11', 'which 12'),
    ('10 11', 'which 13 14'),
  ]
  line = {'text_a': '10 11', 'text_b': '12\t13 14'}  # as `ctxlm predict` reads
  assert build().texts(line) == build().texts(RECORDS[0])


@pytest.mark.parametrize(
  'keys, wanted',
  [
    (
      {'label': 2},
      'label 2, .* none of its 2 choices, nor a number from 0 to 1',
    ),
    ({'label': -1}, 'label -1, which is none'),
    ({'label': '14'}, "label '14', which is none"),
    ({'label': True}, 'label True, which is none'),
    ({'label': 0.5}, 'label 0.5, which is none'),
    ({'label': float('nan')}, 'label nan, which is none'),
    ({'label': float('inf')}, 'label inf, which is none'),
    ({'label': '9' * 5000}, 'which is none of its 2 choices'),
    ({'label': 'C'}, "label 'C', which is none"),
    ({'label': None}, "no value in 'label': None"),
    ({'choices': None}, "no list in 'choices': None"),
    ({'choices': 'a b'}, "no list in 'choices': 'a b'"),
    ({'choices': ['12']}, r'1 choice\(s\), and needs two'),
    ({'choices': []}, r'0 choice\(s\), and needs two'),
    ({'choices': ['12', ' ']}, "no text as choice 1: ' '"),
    ({'choices': ['12', None]}, 'no text as choice 1: None'),
    ({'choices': ['a', 'a'], 'label': 'a'}, 'text of two choices: give its nu'),
    ({'text': ''}, "no text in 'text'"),
    ({'text': None}, "no value in 'text': None"),
    ({'question': 7}, "no text in 'question': 7"),
  ],
)
def test_records_that_cannot_be_learned_from(keys, wanted):
  records = [RECORDS[0], RECORDS[0] | keys]
  with pytest.raises(UserError, match=f'record 1 .*{wanted}'):
    build().settled(records)
