"""`ctxlm attend`: a word's attention, by layer and head."""

import types

import jax
import matplotlib.image
import numpy as np
import pytest

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import attention, language_model, passes
from ctxlm.models import encoder_decoder, recurrent

TEXT = 'the cat sees the moon'


@pytest.mark.parametrize('name', ['mlm', 'causal'])
def test_weights_are_softmax_of_scores(loaded, name):
  run = loaded[name]
  tokens, weights = attention.attention_of(run, TEXT, 'moon')
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
  before, upto = (len(t.encode(s)) for s in ('the cat sees the', TEXT))
  want = p[:, 1 + before : 1 + upto].mean(1)
  np.testing.assert_allclose(weights[0], want, atol=1e-4)


def test_an_encoder_decoders_are_its_encoders(loaded):
  t = loaded['mlm'].tokenizer
  model = encoder_decoder.Model(
    vocab_size=t.vocab_size, hidden_size=8, num_layers=2, num_heads=2
  )
  ids = np.array([framing.source(t)(t.encode(TEXT))])
  params = model.init(jax.random.key(0), ids, ids)['params']
  run = types.SimpleNamespace(
    model=model,
    params=params,
    tokenizer=t,
    max_length=24,
    passes=passes.Passes(model, params),
  )
  tokens, weights = attention.attention_of(run, TEXT, 'cat')
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
  before, upto = (len(t.encode(s)) for s in ('the', 'the cat'))
  want = np.asarray(whole)[0, :, 1 + before : 1 + upto].mean(1)
  np.testing.assert_allclose(weights[1], want, atol=1e-6)


def test_a_model_without_attention_is_one_line(loaded):
  t = loaded['causal'].tokenizer
  model = recurrent.Model(vocab_size=t.vocab_size, hidden_size=8)
  params = model.init(jax.random.key(0), np.ones((1, 3), int))['params']
  run = types.SimpleNamespace(
    model=model,
    params=params,
    tokenizer=t,
    max_length=24,
    passes=passes.Passes(model, params),
  )
  with pytest.raises(UserError, match='this one has none'):
    attention.attention_of(run, TEXT, 'cat')


def test_picture_is_drawn(loaded, tmp_path):
  tokens, weights = attention.attention_of(loaded['mlm'], TEXT, 'cat')
  attention.draw(tokens, weights, 'cat', tmp_path / 'cat.png')
  picture = matplotlib.image.imread(tmp_path / 'cat.png')
  assert min(picture.shape[:2]) > 100 and picture.std() > 0.05


def test_mistakes_are_one_line(loaded):
  with pytest.raises(UserError, match="'fox' is not in the text"):
    attention.attention_of(loaded['mlm'], TEXT, 'fox')
  with pytest.raises(UserError, match='the model takes 24'):
    attention.attention_of(loaded['mlm'], 'cat ' * 100, 'cat')
