"""ARPA files: out and in again, one by hand, and damaged ones."""

import math

import numpy as np
import pytest

from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.families import arpa as arpa_model
from ctxlm.families.formats import arpa
from ctxlm.inference import conversion, predict
from ctxlm.models import counts, ngram
from tests.models.test_ngram import ESTIMATORS, V, draw, stream

WORDS = ['<s>', '</s>', *'abcdefghij', 'rare']
# Chen & Goodman's notation by hand: p(b | a) is there, p(a | b) backs off.
BY_HAND = r"""
Written by nobody.

\data\
ngram 1=5
ngram 2=2

\1-grams:
-1.0	<unk>	0
-99	<s>	-0.2
-0.5	</s>
-0.4	a	-0.3
-0.6	b	-0.1

\2-grams:
-0.1	a b
-0.25 <s> a

\end\
"""


def ended(texts):
  return [[*text, 1] for text in texts]


@pytest.mark.parametrize('estimator', [e for e in ESTIMATORS if e != 'add_k'])
@pytest.mark.parametrize('order', [1, 3])
def test_out_and_in_again(tmp_path, estimator, order):
  model = ngram.Model(vocab_size=V, order=order, estimator=estimator)
  params = model.count(*stream(ended(draw(20))))
  arpa.write(tmp_path / 'a.arpa.gz', params, order, WORDS, 0, 1)
  again, order_again, words = arpa.read(tmp_path / 'a.arpa.gz')
  assert order_again == order and words == [*WORDS, '<unk>']
  read = stream(ended(draw(9, seed=2)))
  other = ngram.Model(vocab_size=V + 1, order=order, estimator='given')
  other.check(again, 'here')
  np.testing.assert_allclose(
    counts.Lookup(other, again)(*read),
    counts.Lookup(model, params)(*read),
    atol=2e-6,
  )


def test_one_token_that_begins_and_ends_texts_is_two_there(tmp_path):
  model = ngram.Model(vocab_size=V, order=3)
  texts = [[*text, 0] for text in draw(20)]
  params = model.count(*stream(texts))
  arpa.write(tmp_path / 'a.arpa', params, 3, ['</s>', *'xabcdefghijk'], 0, 0)
  again, _, words = arpa.read(tmp_path / 'a.arpa')
  other = ngram.Model(vocab_size=len(words), order=3, estimator='given')
  place = {word: i for i, word in enumerate(words)}
  names = ['</s>', *'xabcdefghijk']
  told = [
    [place['<s>'], *(place[names[i]] for i in text[1:])] for text in texts
  ]
  np.testing.assert_allclose(
    counts.Lookup(other, again)(*stream(told))[1:4],
    counts.Lookup(model, params)(*stream(texts))[1:4],
    atol=2e-6,
  )


def test_by_hand(tmp_path):
  path = tmp_path / 'hand.arpa'
  path.write_text(BY_HAND)
  opened = arpa_model.open_file(path)
  model = plugins.build('models', opened.block)
  params, t = opened.read_all(), opened.tokenizer
  ids = [t.bos_id, *t.encode('a b a what'), t.eos_id]
  assert ids[4] == t.unk_id
  got = counts.Lookup(model, params)(*stream([ids]))[1:]
  # p(a | <s>), p(b | a), w(b) p(a), w(a) p(<unk>), w(<unk>) p(</s>)
  want = [-0.25, -0.1, -0.1 - 0.4, -0.3 - 1.0, 0 - 0.5]
  np.testing.assert_allclose(got / math.log(10), want, atol=1e-6)
  assert t.decode(t.encode('a b')) == 'a b'


MISTAKES = {
  'cut': (lambda x: x[: x.index('-0.25')], 'is cut: it ends before the end'),
  'cut before the end': (lambda x: x.replace('\\end\\', ''), 'is cut'),
  'counts': (lambda x: x.replace('2=2', '2=3'), '2 2-grams .* and 3 were'),
  'order 0': (lambda x: x.replace('ngram 1=5', 'ngram 0=5'), 'order 0; orders'),
  'a gap': (lambda x: x.replace('ngram 2=2', 'ngram 3=2'), 'order 3; orders'),
  'no orders': (lambda x: x.replace('ngram', 'gram'), 'no order is announced'),
  'no file of ours': (lambda x: 'hello', r'before \\data\\'),
  'nan': (lambda x: x.replace('-0.1\ta', 'nan\ta'), 'line 16: nan is'),
  'infinite': (lambda x: x.replace('-0.1\ta', '-inf\ta'), 'no probability'),
  'above 1': (lambda x: x.replace('-0.1\ta', '0.1\ta'), 'no probability'),
  'huge': (lambda x: x.replace('-0.3', '1e9'), 'logarithm of no weight'),
  'a word': (lambda x: x.replace('-0.1\ta', 'x\ta'), 'must be numbers'),
  'few words': (lambda x: x.replace('a b', 'a'), '1 words in a 2-gram'),
  'no 1-gram': (lambda x: x.replace('a b', 'a c'), "'c' is no 1-gram"),
  'twice': (lambda x: x.replace('<s> a', 'a b'), 'has a 2-gram twice'),
  'a word twice': (lambda x: x.replace('b\t', 'a\t'), "'a' stands there twice"),
  'a section': (lambda x: x.replace('\\2-', '\\3-'), 'stands where'),
}  # fmt: skip


@pytest.mark.parametrize('name', MISTAKES)
def test_damaged(tmp_path, name):
  spoil, words = MISTAKES[name]
  path = tmp_path / 'x.arpa'
  path.write_text(spoil(BY_HAND))
  with pytest.raises(UserError, match=words):
    arpa.read(path)


def test_a_context_must_be_there(tmp_path):
  text = BY_HAND.replace('ngram 2=2', 'ngram 2=2\nngram 3=1')
  text = text.replace('\\end\\', '\\3-grams:\n-0.1 b a b\n\\end\\')
  (tmp_path / 'x.arpa').write_text(text)
  with pytest.raises(
    UserError, match="'b a b' goes on from 'b a', which is no"
  ):
    arpa.read(tmp_path / 'x.arpa')


def test_words_that_it_can_not_hold(tmp_path):
  model = ngram.Model(vocab_size=V, order=1)
  params = model.count(*stream(draw(3)))
  for word in ('a b', '', 'c'):
    with pytest.raises(UserError, match='no ARPA file can hold'):
      arpa.write(tmp_path / 'x', params, 1, [*WORDS[:-1], word], 0, 1)
  assert not list(tmp_path.iterdir())


def test_as_a_model_of_any_kind(tmp_path):
  """It writes for records, and is of no family of Hugging Face."""
  path = tmp_path / 'hand.arpa'
  path.write_text(BY_HAND)
  predictor = predict.open_predictor(path, max_length=7)
  (found,) = predictor([{'prompt': 'a'}])
  # The likeliest: p(b | a), and behind b w(b) p(a).
  assert found['text'].startswith('b a b a')
  with pytest.raises(UserError, match="no family .* config.model.name='ngram'"):
    conversion.convert(path, to_hf=tmp_path / 'hf')
  assert not (tmp_path / 'hf').exists()
