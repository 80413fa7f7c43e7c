"""`ctxlm attend`: a word's attention, by layer and head."""

import matplotlib.image
import numpy as np
import pytest

from ctxlm.commands import attend
from ctxlm.errors import UserError

TEXT = 'the cat sees the moon'


@pytest.mark.parametrize('name', ['mlm', 'causal'])
def test_weights_are_softmax_of_scores(runs, name):
  run = runs[name]
  tokens, weights = attend.attention_of(run, TEXT, 'moon')
  assert weights.shape == (1, 2, len(tokens))
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  # The first layer by hand: softmax(q k / sqrt(d)) of the normed embeddings.
  t = run.tokenizer
  ids = [t.token_id(x) for x in tokens]
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


def test_picture_is_drawn(runs, tmp_path):
  tokens, weights = attend.attention_of(runs['mlm'], TEXT, 'cat')
  attend.draw(tokens, weights, 'cat', tmp_path / 'cat.png')
  picture = matplotlib.image.imread(tmp_path / 'cat.png')
  assert min(picture.shape[:2]) > 100 and picture.std() > 0.05


def test_mistakes_are_one_line(runs):
  with pytest.raises(UserError, match="'fox' is not in the text"):
    attend.attention_of(runs['mlm'], TEXT, 'fox')
  with pytest.raises(UserError, match='the model takes 24'):
    attend.attention_of(runs['mlm'], 'cat ' * 100, 'cat')
