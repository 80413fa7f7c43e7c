import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.objectives import augment
from ctxlm.objectives.contrastive import Objective


def unit(rng, *shape):
  x = rng.normal(size=shape).astype(np.float32)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def infonce(x, positives, negatives, temperature):
  """Equation 5 of SimCSE, example by example."""
  nats = []
  for i in range(len(x)):
    keys = [*positives, *negatives]
    e = [np.exp(float(x[i] @ k) / temperature) for k in keys]
    nats.append(-np.log(e[i] / sum(e)))
  return np.array(nats)


def encoded(vectors, contents=None, valid=None, present=None):
  """Returns what `encode` gives; all texts differ where none are told."""
  b, n, _ = vectors.shape
  ones = np.ones(b, np.float32)
  return {
    'vectors': vectors,
    'contents': np.arange(b * n).reshape(b, n)
    if contents is None
    else contents,
    'index': np.arange(b),
    'valid': ones if valid is None else valid,
    'present': ones if present is None else present,
  }


@pytest.mark.parametrize('fields', [1, 2, 3])
def test_infonce_equals_numpy(fields):
  rng = np.random.default_rng(0)
  n = max(fields, 2)
  vectors = unit(rng, 6, n, 16)
  own = encoded(vectors)
  found = Objective(fields=fields, temperature=0.07).compare(own, own)
  negatives = vectors[:, 2] if fields == 3 else []
  want = infonce(vectors[:, 0], vectors[:, 1], negatives, 0.07)
  np.testing.assert_allclose(found['loss'][0], want.sum(), rtol=1e-5)
  assert found['loss'][1] == 6


def test_rows_that_fill_up_are_negatives_and_do_not_count():
  rng = np.random.default_rng(1)
  vectors = unit(rng, 6, 2, 8)
  valid = np.array([1, 1, 1, 0, 0, 0], np.float32)
  present = np.array([1, 1, 1, 1, 1, 0], np.float32)  # the last is a copy
  all_of = encoded(vectors, valid=valid, present=present)
  found = Objective().compare(all_of, all_of)
  want = infonce(vectors[:5, 0], vectors[:5, 1], [], 0.05)[:3]
  np.testing.assert_allclose(found['loss'][0], want.sum(), rtol=1e-5)
  assert found['loss'][1] == found['accuracy'][1] == 3


def test_devices_take_everyone_as_negatives():
  rng = np.random.default_rng(2)
  everyone = encoded(unit(rng, 6, 2, 8))
  objective = Objective()
  whole = objective.compare(everyone, everyone)['loss'][0]
  parts = [
    objective.compare({k: v[s] for k, v in everyone.items()}, everyone)
    for s in (slice(0, 2), slice(2, 6))
  ]
  np.testing.assert_allclose(sum(p['loss'][0] for p in parts), whole, rtol=1e-5)


def test_equal_texts_are_no_negatives():
  """A perfect encoder, and sixteen questions with four answers."""
  answers = np.arange(16) % 4
  vectors = np.stack([np.eye(4, dtype=np.float32)[answers]] * 2, axis=1)
  contents = np.stack([100 + np.arange(16), answers], axis=1)
  own = encoded(vectors, contents)
  found = Objective(fields=2).compare(own, own)
  want = np.log(1 + 12 * np.exp(-20.0))  # the keys of the three others
  np.testing.assert_allclose(found['loss'][0] / 16, want, atol=1e-6)
  assert found['accuracy'] == (16, 16)
  found = Objective(fields=2, mask_duplicates=False).compare(own, own)
  np.testing.assert_allclose(found['loss'][0] / 16, np.log(4), atol=1e-6)
  assert found['accuracy'] == (4, 16)


def test_masked_loss_equals_numpy():
  """Texts by letter: query, positive, hard negative of each example."""
  rows = ['abx', 'acy', 'dbz', 'eab', 'fgg', 'hib']
  rng = np.random.default_rng(3)
  vectors = unit(rng, len(rows), 3, 8)
  own = encoded(vectors, np.array([[ord(c) for c in row] for row in rows]))
  want = 0.0
  for i, (query, positive, _) in enumerate(rows):
    at = np.exp(vectors[i, 0] @ vectors[i, 1] / 0.5)
    total = at
    for j, texts in enumerate(rows):
      for view in (1, 2):
        own_positive = j == i and view == 1
        alike = view == 1 and texts[0] == query
        if (
          not own_positive and not alike and texts[view] not in query + positive
        ):
          total += np.exp(vectors[i, 0] @ vectors[j, view] / 0.5)
    want -= np.log(at / total)
  found = Objective(fields=3, temperature=0.5).compare(own, own)
  np.testing.assert_allclose(found['loss'][0], want, rtol=1e-5)


def test_contents_are_equal_where_the_model_sees_the_same(tokenizer):
  objective = Objective(fields=2, tokenizer=tokenizer, max_length=6)
  rng = np.random.default_rng(0)

  def contents(a, b):
    return objective.prepare({'text_a': a, 'text_b': b}, rng)['contents']

  first, second = contents('5 6', '5 6 7 8 9')
  assert first != second
  # Cut to the row, this is the second one.
  assert contents('5  6', '5 6 7 8 40').tolist() == [first, second]


def test_prepare_makes_two_views_of_one_sentence(tokenizer):
  objective = Objective(tokenizer=tokenizer, max_length=6)
  out = objective.prepare({'text': '9 8 7 6 5 9 9'}, np.random.default_rng(0))
  want = [1, 9, 8, 7, 6, 2]
  np.testing.assert_array_equal(out['tokens'], [want, want])
  np.testing.assert_array_equal(out['segment_ids'], np.ones((2, 6)))


@pytest.mark.parametrize(
  'fields, has, cure',
  [
    (2, 'text', 'set .*objective.fields=1, or name them in .*data.fields$'),
    (1, 'text_a text_b', 'set .*objective.fields=2, or'),
    (1, 'text_a text_b negative', 'set .*objective.fields=3, or'),
    (3, 'text_a text_b', 'set .*objective.fields=2, or'),
    (2, 'body id', 'has body, id: name them in .*data.fields$'),
  ],
)
def test_missing_field_has_its_cure(tokenizer, fields, has, cure):
  objective = Objective(fields=fields, tokenizer=tokenizer)
  with pytest.raises(UserError, match=cure):
    objective.prepare(dict.fromkeys(has.split(), '1'), np.random.default_rng(0))


def test_a_pair_without_one_of_its_texts(tokenizer):
  objective = Objective(fields=2, tokenizer=tokenizer)
  with pytest.raises(UserError, match="no text in 'text_b', beside '5 6'"):
    objective.prepare(
      {'text_a': '5 6', 'text_b': ' '}, np.random.default_rng(0)
    )


WORDS = [
  'the',
  'quick',
  'brown',
  'fox',
  'jumps',
  'over',
  'the',
  'lazy',
  'dog',
  'again',
  'and',
]
SYNONYMS = {'quick': ['fast', 'rapid'], 'dog': ['hound']}


def test_delete_drops_its_share():
  rng = np.random.default_rng(0)
  kept = [len(augment.delete(WORDS, 0.3, rng)) for _ in range(2000)]
  assert abs(np.mean(kept) - 0.7 * len(WORDS)) < 0.1
  assert augment.delete(['a'], 0.999, rng) == ['a']


def test_crop_keeps_a_run():
  out = augment.crop(WORDS, 0.4, np.random.default_rng(0))
  assert len(out) == len(WORDS) - round(0.4 * len(WORDS))
  text = ' '.join(WORDS)
  assert ' '.join(out) in text


def test_swap_keeps_the_words():
  out = augment.swap(WORDS, 0.5, np.random.default_rng(0))
  assert sorted(out) == sorted(WORDS) and out != WORDS


def test_synonyms_replace_and_insert(tmp_path):
  path = tmp_path / 'words.csv'
  path.write_text('quick, fast, rapid\ndog, hound\n')
  table = augment.read_synonyms(path)
  assert table == SYNONYMS
  rng = np.random.default_rng(0)
  out = augment.replace(WORDS, 1.0, rng, table)
  changed = {(a, b) for a, b in zip(WORDS, out, strict=True) if a != b}
  assert {a for a, _ in changed} == {'quick', 'dog'}
  assert all(b in SYNONYMS[a] for a, b in changed)
  out = augment.insert(WORDS, 0.2, rng, table)
  assert len(out) == len(WORDS) + 2
  assert set(out) - set(WORDS) <= {'fast', 'rapid', 'hound'}
  with pytest.raises(UserError, match='word, synonym'):
    path.write_text('alone\n')
    augment.read_synonyms(path)
