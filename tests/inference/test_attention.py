"""`ctxlm attend`: a word's attention, by layer and head."""

import types

import jax
import numpy as np
import pytest

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import attention, language_model, passes
from ctxlm.models import encoder_decoder, recurrent

TEXT = 'the cat sees the moon'


def of_word(tokenizer, text, word):
  # Of a word that is there once; one special token stands before the text.
  ends = np.cumsum([len(p) for p in tokenizer.pieces(tokenizer.encode(text))])
  start = text.index(word)
  (places,) = np.nonzero(
    (ends > start) & (np.append(0, ends[:-1]) < start + len(word))
  )
  return slice(1 + places[0], 2 + places[-1])


@pytest.mark.parametrize('name', ['mlm', 'causal'])
def test_weights_are_softmax_of_scores(loaded, name):
  run = loaded[name]
  tokens, weights, _ = attention.attention_of(run, TEXT, 'moon')
  assert weights.shape == (1, 2, len(tokens))
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  # The first layer by hand: softmax(q k / sqrt(d)) of the normed embeddings.
  t = run.tokenizer
  ids = language_model.LanguageModel(run).ids(TEXT)
  assert tokens == t.pieces(ids)
  inputs = run.params['inputs']
  x = np.asarray(inputs['token_embed']['embedding'])[ids]
  x = x + np.asarray(inputs['position_embed']['embedding'])[: len(ids)]
  layer = run.params['stack']['layers_0']
  norm = layer['attention_norm']
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  x = x * np.asarray(norm['scale']) + np.asarray(norm['bias'])
  q, k = (
    np.einsum('lm,mhd->hld', x, np.asarray(layer['attention'][n]['kernel']))
    + np.asarray(layer['attention'][n]['bias'])[:, None]
    for n in ('query', 'key')
  )
  scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
  if name == 'causal':
    scores[:, ~np.tri(len(ids), dtype=bool)] = -np.inf
  p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  want = p[:, of_word(t, TEXT, 'moon')].mean(1)
  np.testing.assert_allclose(weights[0], want, atol=1e-4)


def test_what_is_no_character_is_one_that_says_so(loaded):
  a, b = (
    attention.attention_of(loaded['mlm'], f'the {x} moon', 'moon')
    for x in ('\udcff', '\ufffd')
  )
  assert a[0] == b[0] and a[2] == b[2]
  np.testing.assert_array_equal(a[1], b[1])


def test_an_encoder_decoders_are_its_encoders(loaded):
  t = loaded['mlm'].tokenizer
  model = encoder_decoder.Model(
    vocab_size=t.vocab_size, hidden_size=8, num_layers=2, num_heads=2
  )
  ids = np.array([framing.source(t)(t.encode(TEXT))])
  params = jax.jit(model.init)(jax.random.key(0), ids, ids)['params']
  run = types.SimpleNamespace(
    model=model,
    params=params,
    tokenizer=t,
    max_length=24,
    passes=passes.Passes(model, params),
  )
  tokens, weights, _ = attention.attention_of(run, TEXT, 'cat')
  assert tokens == t.pieces(ids[0]) and weights.shape == (2, 2, len(tokens))
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  assert (weights > 0).all()  # it sees both sides
  # By hand, from the second layer's own inputs on: they are the first's output.
  _, sown = model.apply(
    {'params': params},
    ids,
    method=model.encode,
    mutable=['intermediates'],
  )
  layer = sown['intermediates']['encoder']['layers_1']['attention']
  (whole,) = layer['attention']
  want = np.asarray(whole)[0, :, of_word(t, TEXT, 'cat')].mean(1)
  np.testing.assert_allclose(weights[1], want, atol=1e-6)


def test_a_model_without_attention_is_one_line(loaded):
  t = loaded['causal'].tokenizer
  model = recurrent.Model(vocab_size=t.vocab_size, hidden_size=8)
  params = jax.jit(model.init)(jax.random.key(0), np.ones((1, 3), int))[
    'params'
  ]
  run = types.SimpleNamespace(
    model=model,
    params=params,
    tokenizer=t,
    max_length=24,
    passes=passes.Passes(model, params),
  )
  with pytest.raises(UserError, match='this one has none'):
    attention.attention_of(run, TEXT, 'cat')


def test_the_word_that_is_meant(loaded):
  text = 'then he sees the cat and the moon, he'
  run = loaded['mlm']
  tokens, _, first = attention.attention_of(run, text, 'he')
  _, _, second = attention.attention_of(run, text, 'he', 2)
  spans = attention.whole(run, text)[2]
  where = [spans[range(len(spans))[s][-1]][1] for s in (first, second)]
  assert where == [7, len(text)]  # and neither 'then' nor 'the'
  _, _, part = attention.attention_of(run, text, 'oo')  # of no whole word
  assert 'oo' in ''.join(tokens[part])
  with pytest.raises(UserError, match="'he' is there 2 times"):
    attention.attention_of(run, text, 'he', 3)


def test_mistakes_are_one_line(loaded):
  with pytest.raises(UserError, match="'fox' is not in the text"):
    attention.attention_of(loaded['mlm'], TEXT, 'fox')
  with pytest.raises(UserError, match='the model takes 24'):
    attention.attention_of(loaded['mlm'], 'cat ' * 100, 'cat')
