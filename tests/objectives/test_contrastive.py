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


@pytest.mark.parametrize('fields', [1, 2, 3])
def test_infonce_equals_numpy(fields):
  rng = np.random.default_rng(0)
  n = max(fields, 2)
  vectors = unit(rng, 6, n, 16)
  own = {
    'vectors': vectors,
    'index': np.arange(6),
    'valid': np.ones(6, np.float32),
  }
  found = Objective(fields=fields, temperature=0.07).compare(own, own)
  negatives = vectors[:, 2] if fields == 3 else []
  want = infonce(vectors[:, 0], vectors[:, 1], negatives, 0.07)
  np.testing.assert_allclose(found['loss'][0], want.sum(), rtol=1e-5)
  assert found['loss'][1] == 6


def test_padded_examples_are_no_negatives():
  rng = np.random.default_rng(1)
  vectors = unit(rng, 6, 2, 8)
  valid = np.array([1, 1, 1, 1, 0, 0], np.float32)
  all_of = {'vectors': vectors, 'index': np.arange(6), 'valid': valid}
  four = {
    'vectors': vectors[:4],
    'index': np.arange(4),
    'valid': np.ones(4, np.float32),
  }
  objective = Objective()
  a, b = objective.compare(all_of, all_of), objective.compare(four, four)
  for name in ('loss', 'accuracy'):
    np.testing.assert_allclose(a[name], b[name], rtol=1e-5)


def test_devices_take_everyone_as_negatives():
  rng = np.random.default_rng(2)
  everyone = {
    'vectors': unit(rng, 6, 2, 8),
    'index': np.arange(6),
    'valid': np.ones(6, np.float32),
  }
  objective = Objective()
  whole = objective.compare(everyone, everyone)['loss'][0]
  parts = [
    objective.compare({k: v[s] for k, v in everyone.items()}, everyone)
    for s in (slice(0, 2), slice(2, 6))
  ]
  np.testing.assert_allclose(sum(p['loss'][0] for p in parts), whole, rtol=1e-5)


def test_prepare_makes_two_views_of_one_sentence(tokenizer):
  objective = Objective(tokenizer=tokenizer, max_length=6)
  out = objective.prepare({'text': '9 8 7 6 5 9 9'}, np.random.default_rng(0))
  want = [1, 9, 8, 7, 6, 2]
  np.testing.assert_array_equal(out['tokens'], [want, want])
  np.testing.assert_array_equal(out['segment_ids'], np.ones((2, 6)))


def test_missing_field_is_one_line(tokenizer):
  objective = Objective(fields=2, tokenizer=tokenizer)
  with pytest.raises(UserError, match="'text_a'"):
    objective.prepare({'text': '1 2'}, np.random.default_rng(0))


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
