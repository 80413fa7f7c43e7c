"""n-gram models against the formulas on dictionaries, and against nltk."""

import collections
import math

import jax
import jax.numpy as jnp
import nltk.lm
import numpy as np
import pytest

from ctxlm.decoding import generator
from ctxlm.errors import UserError
from ctxlm.models import counts, ngram
from tests.decoding import checkpoints
from tests.decoding.whole import Whole

V, START, RARE = 13, 0, 12  # RARE is in no text
ESTIMATORS = (
  'modified_kneser_ney', 'kneser_ney', 'witten_bell', 'add_k',
  'stupid_backoff',
)  # fmt: skip


def draw(count, seed=0, length=30):
  """Texts of few words, common ones and rare ones, each with its start."""
  rng = np.random.default_rng(seed)
  p = 1 / np.arange(1, V - 1)
  return [
    [START, *rng.choice(np.arange(1, RARE), size, p=p / p.sum())]
    for size in rng.integers(0, length, count)
  ]


def stream(texts):
  tokens = np.array([t for text in texts for t in text])
  begins = np.array([i == 0 for text in texts for i in range(len(text))])
  return tokens, begins


class Brute:
  """The estimators, by their papers, from dictionaries of counts."""

  def __init__(self, texts, model):
    self.model, n = model, model.order
    self.raw = collections.defaultdict(collections.Counter)
    first = collections.Counter()
    for text in texts:
      for t in range(1, len(text)):
        for k in range(1, min(n, t + 1) + 1):
          gram = tuple(text[t - k + 1 : t + 1])
          self.raw[k][gram] += 1
          first[gram] += k > 1 and t == k - 1
    self.used = dict(self.raw)
    if 'kneser' in model.estimator:
      for k in range(1, n):
        longer = collections.Counter(gram[1:] for gram in self.raw[k + 1])
        self.used[k] = {g: longer[g] + first[g] for g in self.raw[k]}
    seen = {g[0] for g in self.raw[1]}
    if model.open_vocab:
      self.words = seen | set(range(V)) - {text[0] for text in texts}
    else:
      self.words = seen

  def discount(self, k, count):
    n = collections.Counter(self.used[k].values())
    if self.model.estimator == 'kneser_ney':
      both = n[1] and n[2]
      d = n[1] / (n[1] + 2 * n[2]) if both else 0.75
      return min(self.model.discount or d, count)
    d = (0.5, 1.0, 1.5)
    if all(n[i] for i in (1, 2, 3, 4)):
      y = n[1] / (n[1] + 2 * n[2])
      found = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
      if all(0 <= x <= i for i, x in enumerate(found, 1)):
        d = found
    return d[min(count, 3) - 1]

  def p(self, word, context):
    model, k = self.model, len(context) + 1
    own = {g[-1]: c for g, c in self.used[k].items() if g[:-1] == context}
    total, count = sum(own.values()), own.get(word, 0)
    uniform = (word in self.words) / len(self.words)
    if model.estimator == 'add_k':
      added = model.k * len(self.words)
      return (count + added * uniform) / (total + added)
    if k == 1 and not model.open_vocab:
      return count / total
    lower = self.p(word, context[1:]) if context else uniform
    if model.estimator == 'stupid_backoff':
      return (
        count / total
        if count
        else (model.backoff if total or k == 1 else 1) * lower
      )
    if not total:
      return lower
    if model.estimator == 'witten_bell':
      return (count + len(own) * lower) / (total + len(own))
    off = sum(self.discount(k, c) for c in own.values())
    here = count - self.discount(k, count) if count else 0
    return (here + off * lower) / total


def dense(model, params, tokens, segments=None):
  """Logits float32 [b, l, v] of a compiled pass."""

  @jax.jit
  def run(params, tokens, segments):
    return model.apply(
      {'params': params},
      method=lambda m: m.logits(m(tokens, segment_ids=segments)),
    )

  return np.asarray(run(params, jnp.asarray(tokens), segments))


@pytest.mark.parametrize('order', [1, 2, 4])
@pytest.mark.parametrize('open_vocab', [True, False])
@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_probabilities_are_those_of_the_formulas(estimator, open_vocab, order):
  model = ngram.Model(
    vocab_size=V, order=order, estimator=estimator, open_vocab=open_vocab
  )
  texts = draw(12)
  params = model.count(*stream(texts))
  model.check(params, 'here')
  brute = Brute(texts, model)
  # Contexts that were seen, that were not, and that nothing came after.
  read = np.array([text[-6:] for text in draw(4, seed=1) if len(text) > 6])
  logits = dense(model, params, read)
  found = counts.Lookup(model, params)(*stream(read.tolist()))
  found = np.exp(found.reshape(read.shape))
  for row, rows_logits, rows_found in zip(read.tolist(), logits, found):
    for t in range(len(row)):
      context = tuple(row[max(t - order + 2, 0) : t + 1]) if order > 1 else ()
      want = np.array([brute.p(w, context) for w in range(V)])
      np.testing.assert_allclose(np.exp(rows_logits[t]), want, 1e-5, 1e-9)
      if t + 1 < len(row):
        np.testing.assert_allclose(rows_found[t + 1], want[row[t + 1]], 1e-6)
      if estimator != 'stupid_backoff':
        assert math.isclose(want.sum(), 1.0, rel_tol=1e-9)
      assert (want[START] == 0) and (want[RARE] > 0) == open_vocab


NLTK = {
  'kneser_ney': lambda n: nltk.lm.KneserNeyInterpolated(n, discount=0.3),
  'witten_bell': nltk.lm.WittenBellInterpolated,
  'add_k': lambda n: nltk.lm.Lidstone(0.2, n),
  'stupid_backoff': lambda n: nltk.lm.StupidBackoff(0.4, n),
}


@pytest.mark.parametrize('estimator', NLTK)
def test_as_nltk_has_it(estimator):
  order, (text,) = 3, draw(1, length=400, seed=5)
  options = dict(discount=0.3, k=0.2, backoff=0.4, open_vocab=False)
  if estimator == 'add_k':  # nltk's <UNK> is one more word
    options['open_vocab'] = True
  model = ngram.Model(vocab_size=V, order=order, estimator=estimator, **options)
  params = model.count(*stream([text]))
  words = [str(i) for i in text]
  other = NLTK[estimator](order)
  grams = list(nltk.everygrams(words, max_len=order))
  grams.remove((words[0],))  # the start, which is a context alone
  other.fit([grams], vocabulary_text=words[1:])
  assert len(set(text[1:])) == V - 2  # all but the start and the rare one
  read = draw(1, length=60, seed=6)[0][1:]
  logits = dense(model, params, [read])[0]
  for t in range(order - 2, len(read)):
    context = [str(i) for i in read[t - order + 2 : t + 1]]
    want = np.array([other.score(str(w), context) for w in range(1, RARE)])
    got = np.exp(logits[t, 1:RARE])
    if estimator == 'stupid_backoff':  # what is left of it by the softmax
      got, want = got / got.sum(), want / want.sum()
    np.testing.assert_allclose(np.log(got), np.log(want), atol=1e-5)


def test_rows_see_their_own_segment_alone():
  model = ngram.Model(vocab_size=V, order=4)
  params = model.count(*stream(draw(12)))
  a, b = draw(2, seed=7, length=12)
  # A piece of a text that was cut begins with any word.
  a, b = [*a[:3], 1, 1], [2, *b[1:7]]
  assert (1, 1, 2) in {tuple(t[i : i + 3]) for t in draw(12) for i in range(30)}
  packed = np.array([[*a, *b, 0, 0]])
  segments = np.array([[1] * 5 + [2] * 7 + [0] * 2])
  got = dense(model, params, packed, segments)
  np.testing.assert_array_equal(got[0, :5], dense(model, params, [a])[0])
  np.testing.assert_array_equal(got[0, 5:12], dense(model, params, [b])[0])


@pytest.mark.parametrize(
  'strategy, options',
  [
    ({'name': 'sample'}, {'num_samples': 3, 'seed': 5}),
    pytest.param(
      {'name': 'beam', 'num_beams': 3, 'num_best': 2},
      {},
      marks=pytest.mark.slow,
    ),
    pytest.param({'name': 'greedy'}, {'guidance': 1.5}, marks=pytest.mark.slow),
  ],
)
def test_writes_as_repeated_full_passes(strategy, options):
  model = ngram.Model(vocab_size=V, order=4)
  params = jax.tree.map(jnp.asarray, model.count(*stream(draw(30))))
  prompts = [
    text[:n] for text, n in zip(draw(9, seed=3, length=60), (3, 19, 1))
  ]
  config = checkpoints.config(strategy, max_new_tokens=8, **options)
  found = [
    generator.Generator(generator.Writer(m, params, None, (RARE,), 0), config)(
      prompts
    )
    for m in (model, Whole(model))
  ]
  ours, whole = ([[x['tokens'] for x in row] for row in f] for f in found)
  assert ours == whole


def test_what_needs_vectors_or_takes_tokens_back_is_refused():
  model = ngram.Model(vocab_size=V, order=2)
  params = model.count(*stream(draw(3)))
  writer = generator.Writer(model, params, None, (RARE,), 0)
  for name, words in (
    ('contrastive_search', 'no hidden vectors'),
    ('speculative', 'takes tokens back'),
  ):
    with pytest.raises(UserError, match=words):
      generator.Generator(writer, checkpoints.config({'name': name}))


def test_texts_of_no_word_leave_what_can_be_saved():
  model = ngram.Model(vocab_size=V, order=3)
  params = model.count(*stream([[START], [START]]))
  model.check(params, 'here')
  assert min(x.size for x in jax.tree.leaves(params)) > 0
  logits = dense(model, params, [[START, 3, 4]])
  np.testing.assert_allclose(np.exp(logits[..., 1:]), 1 / (V - 1), 1e-6)


def spoilt(order, **parts):
  """Returns what replaces arrays of a table by functions of them."""

  def spoil(params):
    table = params[f'order_{order}']
    for name, function in parts.items():
      table[name] = function(table[name])

  return spoil


@pytest.mark.parametrize(
  'spoil, words',
  [
    (lambda params: params.pop('order_2'), '2-grams is not of this model'),
    (spoilt(3, probs=lambda x: x[:-1]), 'parts of different lengths'),
    (spoilt(2, words=np.sort), '2-grams is not sorted'),
    (spoilt(1, first=lambda x: x[::-1]), '2-grams is not sorted'),
    (spoilt(2, words=lambda x: x + V), '2-grams is not sorted'),
    (spoilt(2, backoffs=lambda x: -x), 'holds what is no probability'),
    (spoilt(3, probs=lambda x: x + 1), 'holds what is no probability'),
  ],
)
def test_tables_that_are_none(spoil, words):
  model = ngram.Model(vocab_size=V, order=3)
  params = model.count(*stream(draw(9)))
  spoil(params)
  with pytest.raises(UserError, match=words):
    model.check(params, 'here')
