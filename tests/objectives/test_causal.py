import jax
import numpy as np
import pytest
import torch

from ctxlm.data.views import answers
from ctxlm.errors import UserError
from ctxlm.models.variables import make_apply
from ctxlm.objectives.causal import Objective
from ctxlm.objectives.regularizers import r_drop
from tests.decoding import checkpoints


def example():
  return {
    'tokens': np.array([4, 7, 8, 4, 9, 6, 0], np.int32),
    'segment_ids': np.array([1, 1, 1, 2, 2, 2, 0], np.int32),
    'positions': np.array([0, 1, 2, 0, 1, 2, 0], np.int32),
  }


def test_targets_stop_at_the_document():
  out = Objective().prepare(example(), np.random.default_rng(0))
  np.testing.assert_array_equal(out['weights'], [1, 1, 0, 1, 1, 0, 0])
  used = out['weights'] > 0
  np.testing.assert_array_equal(out['targets'][used], [7, 8, 9, 6])


def test_prefix_is_seen_and_not_predicted():
  objective = Objective(prefix=0.99)
  seen = set()
  for seed in range(40):
    out = objective.prepare(example(), np.random.default_rng(seed))
    inside = out['prefix']
    for first in (0, 3):
      n = int(inside[first : first + 3].sum())
      assert inside[first : first + n].all()  # a prefix, without holes
      want = [1.0 if j + 1 >= n else 0.0 for j in range(2)] + [0.0]
      np.testing.assert_array_equal(out['weights'][first : first + 3], want)
      seen.add(n)
  assert seen == {0, 1, 2}


def test_chain_rule_by_hand():
  """The loss is -sum log p(x_t | x_<t), each factor looked up in a table."""
  rng = np.random.default_rng(0)
  table = rng.dirichlet(np.ones(10), size=10)  # p(next | token)
  batch = Objective().prepare(example(), rng)
  batch = {k: v[None] for k, v in batch.items()}
  batch['valid'] = np.ones(1, np.float32)
  logits = np.log(table)[batch['tokens']]
  found = Objective().loss(lambda *_: logits, None, batch, None)
  want = -np.log(table[4, 7] * table[7, 8] * table[4, 9] * table[9, 6])
  np.testing.assert_allclose(found['loss'][0], want, rtol=1e-5)
  assert found['loss'][1] == 4


PAIRS = [
  {'prompt': '5 6 7', 'completion': '8 9'},
  {'prompt': '10', 'completion': '11 12 13 14'},
  {'text_a': '', 'text_b': '15'},
  {'prompt': ' '.join(map(str, range(5, 40))), 'completion': '41 42'},
  {'prompt': '7', 'completion': ' '.join(map(str, range(5, 40)))},
]
DIALOGUES = [
  {'turns': ['5 6', '7', '8 9 10', '11']},
  {'turns': ['12', '13 14']},
  {'turns': ['9 ' * 9, '16', '17 ' * 9, '18 19']},
]


def rows_of(objective, records):
  """Returns the batch of records, packed, and their examples."""
  examples = [one for r in records for one in objective.examples(r)]
  kept = [one for one in examples if one is not None]
  names = 'tokens', 'segment_ids', 'answers'
  batch = []
  for row in answers.rows(iter(kept), objective.max_length, 0):
    row = dict(zip(names, row))
    place = np.arange(len(row['tokens']))
    begins = [np.argmax(row['segment_ids'] == s) for s in row['segment_ids']]
    row['positions'] = np.where(row['segment_ids'] > 0, place - begins, 0)
    batch.append(objective.prepare(row, None))
  batch = {k: np.stack([row[k] for row in batch]) for k in batch[0]}
  return batch | {'valid': np.ones(len(batch['tokens']), np.float32)}, examples


@pytest.mark.parametrize(
  'records, options',
  [
    (PAIRS, {'kind': 'completion'}),
    (DIALOGUES, {'kind': 'dialogue'}),
    (DIALOGUES, {'kind': 'dialogue', 'context': 1}),
    (DIALOGUES, {'kind': 'dialogue', 'context': 0, 'speaker': 'assistant'}),
  ],
)
def test_loss_is_of_answers_alone(tokenizer, records, options):
  """torch's loss of each example by itself, all else labelled -100."""
  tokenizer.chat_template = None
  objective = Objective(tokenizer=tokenizer, max_length=24, **options)
  batch, examples = rows_of(objective, records)
  model, writer = checkpoints.pair('gpt2')
  total = count = 0
  for example in examples:
    if example is None:
      continue
    ids, marks = (np.array(x) for x in example)
    assert len(ids) <= 24 and marks[-1] and not marks[0]
    labels = torch.tensor(np.where(marks, ids, -100))[None]
    with torch.no_grad():
      loss = model(torch.tensor(ids)[None], labels=labels).loss
    total, count = total + loss.item() * marks.sum(), count + marks.sum()
  assert len(batch['tokens']) < len(examples)  # several in a row
  apply = make_apply(writer.model)
  found = jax.jit(
    lambda params: objective.loss(apply, params, batch, None)['loss']
  )(writer.params)
  np.testing.assert_allclose(found[1], count)
  np.testing.assert_allclose(found[0] / found[1], total / count, rtol=1e-5)


def test_examples_by_hand(tokenizer):
  tokenizer.chat_template = None
  o = Objective(tokenizer=tokenizer, max_length=8, kind='completion')
  found = [o.examples(record) for record in PAIRS]
  assert found[0] == [([4, 5, 6, 7, 8, 9, 4], [False] * 4 + [True] * 3)]
  assert found[2] == [([4, 15, 4], [False, True, True])]
  assert found[3] == [
    ([4, 36, 37, 38, 39, 41, 42, 4], [False] * 5 + [True] * 3)
  ]
  assert found[4] == [None]
  for context, want in (
    (0, [[4, 7, 4], [4, 8, 9, 10, 4], [4, 11, 4]]),
    (1, [[5, 6, 4, 7, 4], [7, 4, 8, 9, 10, 4], [8, 9, 10, 4, 11, 4]]),
    (None, [[5, 6, 4, 7, 4], [7, 4, 8, 9, 10, 4], [7, 4, 8, 9, 10, 4, 11, 4]]),
  ):
    o = Objective(
      tokenizer=tokenizer, max_length=8, kind='dialogue', context=context
    )
    assert [ids for ids, _ in o.examples(DIALOGUES[0])] == want
    # What is given to write an answer is what stood before it.
    for (ids, marks), (given, right) in zip(
      o.examples(DIALOGUES[0]), o.prompted(DIALOGUES[0], None, 8)
    ):
      learned = np.array(ids)[marks].tolist()
      assert learned == [*map(int, right.split()), 4]
      assert given[-len(ids) + len(learned) :] == ids[: -len(learned)]
  assert o.given({'turns': ['5', '6', '7']}, 4) == [6, 4, 7, 4]
  assert o.given({'text': '5'}, None) == [5, 4]
  whole = Objective(tokenizer=tokenizer, max_length=11, kind='dialogue')
  ((ids, marks),) = whole.examples(DIALOGUES[0])
  assert len(ids) == 11 and sum(marks) == 8
  o = Objective(tokenizer=tokenizer, kind='completion')
  for record in ({'prompt': '5 6'}, {'text_a': '5 6', 'text_b': '7'}):
    assert o.given(record, 2) == [4, 6]
  assert o.prompted(PAIRS[0], None, None) == [([4, 5, 6, 7], '8 9')]


def test_mistakes(tokenizer):
  tokenizer.chat_template = None
  for kind in ('completion', 'stream'):
    with pytest.raises(ValueError, match="prefix=0.5 is for kind='text'"):
      Objective(kind=kind, prefix=0.5)
  with pytest.raises(ValueError, match="are for kind='dialogue'"):
    Objective(kind='completion', context=0)
  with pytest.raises(ValueError, match="rows of kind='stream' are read once"):
    Objective(kind='stream', regularizer=r_drop.Regularizer())
  o = Objective(tokenizer=tokenizer, kind='completion', max_length=8)
  for record, wanted in (
    ({'prompt': '5', 'completion': ' '}, 'its completion is empty'),
    (
      {'prompt': '5', 'reply': '6'},
      'reads prompt, completion.*has prompt, rep',
    ),
    ({'prompt': '5', 'completion': ['6']}, "'completion' of a record is no te"),
  ):
    with pytest.raises(UserError, match=wanted):
      o.examples(record)


def test_answers_that_are_empty_are_left_out(tokenizer):
  tokenizer.chat_template = None
  own = Objective(tokenizer=tokenizer, max_length=9, kind='dialogue')
  turns = {'turns': ['5', ' ', '6', '7']}
  (none, (ids, marks)) = own.examples(turns)
  assert none is None and ids == [5, 4, 4, 6, 4, 7, 4]
  assert [i for i, mark in enumerate(marks) if mark] == [3, 4, 5, 6]
  assert own.examples({'turns': ['5', '']}) == [None]
  assert [target for _, target in own.prompted(turns, None, 9)] == ['6', '7']
  with pytest.raises(UserError, match='turn 2 is empty, and the last'):
    own.given({'turns': ['5', '']}, 9)
