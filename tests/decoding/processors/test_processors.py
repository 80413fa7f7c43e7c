"""Each processor against transformers' of the same name, or its formula."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers as tr

from ctxlm import plugins
from ctxlm.decoding import text as text_lib
from ctxlm.decoding.processors import filters, vocabulary
from ctxlm.errors import UserError

V, EOS = 20, 1
# Rows of one text, with repetitions; the first columns are padding.
TOKENS = np.array(
  [
    [5, 7, 5, 7, 9, 5, 7],
    [0, 0, 4, 4, 4, 4, 4],
    [0, 6, 2, 3, 6, 2, 8],
    [0, 0, 0, 6, 8, 2, 6],
  ]
)
START = np.array([0, 2, 1, 3])
LOGITS = np.random.default_rng(0).normal(0, 2, (4, V)).astype(np.float32)


def text(prompt=4, room=9, limit=9):
  """Returns a Text: TOKENS, of which the first `prompt` columns are prompts."""
  first = text_lib.begin(
    jnp.asarray(TOKENS[:, :prompt], jnp.int32),
    jnp.asarray(START),
    jnp.full(4, limit),
    jnp.arange(4),
    0,
    room=room,
  )
  for column in TOKENS[:, prompt:].T:
    first = first.append(
      jnp.asarray(column, jnp.int32), jnp.ones(4, bool), jnp.zeros(4)
    )
  return first


def build(block):
  given = dict(vocab_size=V, eos_ids=(EOS,))
  return plugins.build('decoding.processors', block, **given)


def theirs(processor, logits=LOGITS):
  """Returns what transformers makes of each row, without its padding."""
  rows = [
    processor(torch.tensor(row[s:])[None], torch.tensor(x)[None])[0]
    for row, s, x in zip(TOKENS, START, logits, strict=True)
  ]
  return np.stack(rows)


CASES = {
  'temperature': (
    {'name': 'temperature', 'temperature': 0.6},
    lambda: tr.TemperatureLogitsWarper(0.6),
  ),
  'top_k': ({'name': 'top_k', 'k': 5}, lambda: tr.TopKLogitsWarper(5)),
  'top_k of few': (
    {'name': 'top_k', 'k': 99},
    lambda: tr.TopKLogitsWarper(99),
  ),
  'top_p': ({'name': 'top_p', 'p': 0.7}, lambda: tr.TopPLogitsWarper(0.7)),
  'top_p small': (
    {'name': 'top_p', 'p': 1e-6, 'least': 2},
    lambda: tr.TopPLogitsWarper(1e-6, min_tokens_to_keep=2),
  ),
  'min_p': ({'name': 'min_p', 'p': 0.2}, lambda: tr.MinPLogitsWarper(0.2)),
  'min_p of two': (
    {'name': 'min_p', 'p': 1.0, 'least': 2},
    lambda: tr.MinPLogitsWarper(1.0, min_tokens_to_keep=2),
  ),
  'typical': (
    {'name': 'typical', 'mass': 0.6},
    lambda: tr.TypicalLogitsWarper(0.6),
  ),
  'min_length': (
    {'name': 'min_length', 'count': 6},
    lambda: tr.MinLengthLogitsProcessor(6, EOS),
  ),
  'suppress': (
    {'name': 'suppress', 'tokens': (3, 7)},
    lambda: tr.generation.SuppressTokensLogitsProcessor([3, 7]),
  ),
  'repetition': (
    {'name': 'repetition', 'penalty': 1.7},
    lambda: tr.RepetitionPenaltyLogitsProcessor(1.7),
  ),
  'bad_words': (
    {'name': 'bad_words', 'words': ((3,), (5, 7, 2), (7, 4), (9, 6), (4, 4))},
    lambda: tr.NoBadWordsLogitsProcessor(
      [[3], [5, 7, 2], [7, 4], [9, 6], [4, 4]], EOS
    ),
  ),
} | {
  f'no_repeat_ngram {n}': (
    {'name': 'no_repeat_ngram', 'size': n},
    lambda n=n: tr.NoRepeatNGramLogitsProcessor(n),
  )
  for n in (1, 2, 3, 4)
}


@pytest.mark.parametrize('case', CASES)
def test_equals_transformers(case):
  block, reference = CASES[case]
  found = build(block)(jnp.asarray(LOGITS), text())
  np.testing.assert_allclose(found, theirs(reference()), rtol=1e-6)
  assert case == 'top_k of few' or (np.asarray(found) != LOGITS).any()


def test_no_text_has_an_ngram_longer_than_it():
  length = text().tokens.shape[1]
  for size in (length, length + 1, length + 2, 2 * length, 1000):
    found = build({'name': 'no_repeat_ngram', 'size': size})
    np.testing.assert_array_equal(found(jnp.asarray(LOGITS), text()), LOGITS)


def test_composition_equals_transformers():
  names = ['temperature', 'top_k', 'top_p', 'min_p', 'typical']
  found, want = jnp.asarray(LOGITS), LOGITS
  for name in names:
    found = build(CASES[name][0])(found, text())
    want = theirs(CASES[name][1](), want)
  np.testing.assert_allclose(found, want, rtol=1e-6)
  assert np.isfinite(want).sum(1).min() >= 1


def test_frequency_and_presence_are_of_the_new_tokens():
  block = {'name': 'frequency', 'frequency': 0.5, 'presence': 0.25}
  found = build(block)(jnp.asarray(LOGITS), text(prompt=3))
  want = LOGITS.copy()
  for new, x in zip(TOKENS[:, 3:], want, strict=True):
    for token in set(new.tolist()):
      x[token] -= 0.5 * (new == token).sum() + 0.25
  np.testing.assert_allclose(found, want, atol=1e-6)


def test_forced():
  block = {'name': 'forced', 'first': (7, 3, 9, 4), 'last': EOS}
  one = np.asarray(build(block)(jnp.asarray(LOGITS), text()))
  assert (one[:, 4] == 0).all() and np.isinf(one).sum() == 4 * (V - 1)
  free = build(block)(jnp.asarray(LOGITS), text(prompt=3))
  np.testing.assert_array_equal(free, LOGITS)
  last = np.asarray(build(block)(jnp.asarray(LOGITS), text(3, limit=5)))
  assert (last.argmax(1) == EOS).all() and np.isinf(last).sum() == 4 * (V - 1)


def test_one_of_several_ends_is_forced():
  block = {'name': 'forced', 'last': (EOS, 4)}
  last = np.asarray(build(block)(jnp.asarray(LOGITS), text(3, limit=5)))
  want = np.full(LOGITS.shape, -np.inf)
  want[:, [EOS, 4]] = 0
  np.testing.assert_array_equal(last, want)


def test_suppressed_at_one_place():
  for place, new in ((0, 7), (1, 6), (1, 7)):
    block = {'name': 'suppress', 'first': (2, 5), 'place': place}
    found = build(block)(jnp.asarray(LOGITS), text(new))
    want = LOGITS.copy()
    if 7 - new == place:
      want[:, [2, 5]] = -np.inf
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize('size', [20, 1000])
def test_of_equal_tokens_the_fewest_are_left(size):
  """As many as the reference leaves, whichever; the mass has its number."""
  logits = np.zeros((3, size), np.float32)
  logits[1, size // 2 :] = -1.0
  logits[2, :3], logits[2, 3:7] = 4.0, 3.9
  for mass in (0.0707, 0.3111, 0.5555, 0.9333):
    found = build({'name': 'top_p', 'p': mass})(jnp.asarray(logits), None)
    found = np.isfinite(np.asarray(found))
    p = np.exp(logits.astype(np.float64))
    p = -np.sort(-p / p.sum(1, keepdims=True))
    fewest = 1 + (p.cumsum(1) < mass).sum(1)
    assert found.sum(1).tolist() == fewest.tolist()
    want = tr.TopPLogitsWarper(mass)(None, torch.tensor(logits)).isfinite()
    assert np.abs(found.sum(1) - want.sum(1).numpy()).max() <= size // 500
    for row, kept in zip(logits, found, strict=True):
      assert row[kept].min() >= row[~kept].max()
  block = {'name': 'top_p', 'p': 0.01, 'least': 2}
  found = build(block)(jnp.zeros((1, size)), None)
  assert np.isfinite(found).sum() == max(2, -(-size // 100))


def test_min_new_tokens():
  def ends(count):
    block = {'name': 'min_new_tokens', 'count': count}
    found = np.asarray(build(block)(jnp.asarray(LOGITS), text()))
    np.testing.assert_array_equal(found[:, 2:], LOGITS[:, 2:])
    return found[:, EOS]

  np.testing.assert_array_equal(ends(3), LOGITS[:, EOS])  # 3 are written
  assert np.isinf(ends(4)).all()


def test_mass_above_is_exact_where_scores_are_far_apart():
  score = np.array([[-np.inf, -1e30, -1.0, -1e-30, 0.0, 1e-30, 5.0]])
  p = np.array([[0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.1]])
  for mass in (0.05, 0.25, 0.45, 0.65, 0.85):
    above = [p[0][score[0] > s].sum() for s in score[0]]
    found = filters.within_mass(
      jnp.asarray(score, jnp.float32), jnp.asarray(p, jnp.float32), mass
    )
    np.testing.assert_array_equal(found[0], np.array(above) < mass)


MISTAKES = [
  ({'name': 'temperature', 'temperature': 0}, 'must be more than 0'),
  ({'name': 'temperature', 'temperature': -1.0}, 'must be more than 0'),
  ({'name': 'temprature'}, "Did you mean 'temperature'"),
  ({'name': 'top_k', 'k': 0}, 'must be 1 or more'),
  ({'name': 'top_p', 'p': 1.5}, 'must be more than 0 and 1 or less'),
  ({'name': 'min_p', 'p': -0.1}, 'must be from 0 to 1'),
  ({'name': 'typical', 'mass': 0.0}, 'must be more than 0 and 1 or less'),
  ({'name': 'repetition', 'penalty': 0}, 'must be more than 0'),
  ({'name': 'no_repeat_ngram', 'size': 0}, 'must be from 1 to 1000'),
  ({'name': 'bad_words', 'words': ()}, 'is empty'),
  ({'name': 'bad_words', 'words': ((V,),)}, f'no token {V}'),
  ({'name': 'forced', 'first': (3, V)}, f'no token {V}: ids are 0 to {V - 1}'),
  ({'name': 'forced', 'last': '<|stop|>'}, "no token '<|stop|>'"),
  ({'name': 'constrained'}, 'give strings, a pattern, or a schema'),
]


@pytest.mark.parametrize('block, wanted', MISTAKES, ids=str)
def test_mistakes_are_one_line(block, wanted):
  with pytest.raises(UserError) as e:
    build(block)
  assert wanted in str(e.value) and '\n' not in str(e.value)


def test_tokens_by_name():
  class Tokenizer:
    def token_id(self, name):
      return {'<end>': 3}.get(name)

    def encode(self, words):
      return [len(w) for w in words.split()]

  assert vocabulary.token('<end>', Tokenizer(), 9) == 3
  assert vocabulary.sequence('a bcd', Tokenizer(), 9) == (1, 3)
