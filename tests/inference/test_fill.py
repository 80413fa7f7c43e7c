"""`ctxlm fill`: the best tokens for each mask."""

import jax
import numpy as np
import pytest

from ctxlm.errors import UserError
from ctxlm.inference import fill
from ctxlm.objectives import mlm

TEXT = 'the [MASK] sees the [MASK] at 5.'


def test_best_tokens_are_those_of_the_mlm_head(loaded):
  run = loaded['mlm']
  t = run.tokenizer
  found = fill.fill(run, TEXT, top=7)
  row = np.array([[t.cls_id, *t.encode(TEXT), t.sep_id]])
  out = jax.jit(
    lambda params: run.model.apply(
      {'params': params}, method=lambda m: mlm.mlm_logits(m, m(row))
    )
  )(run.params)
  out = np.asarray(out, np.float64)[0]
  ids = {piece: i for i, piece in enumerate(t.pieces(range(t.vocab_size)))}
  places = np.flatnonzero(row[0] == t.mask_id)
  assert len(found) == len(places) == 2
  for best, place in zip(found, places, strict=True):
    p = np.exp(out[place]) / np.exp(out[place]).sum()
    np.testing.assert_allclose(
      [x for _, x in best], np.sort(p)[::-1][:7], rtol=1e-3
    )
    for token, x in best:
      assert p[ids[token]] == pytest.approx(x, rel=1e-3)


def test_mistakes_are_one_line(loaded):
  with pytest.raises(UserError, match=r'has no \[MASK\]'):
    fill.fill(loaded['mlm'], 'the cat')
  with pytest.raises(UserError, match='no MLM head'):
    fill.fill(loaded['causal'], TEXT)
  with pytest.raises(UserError, match='the model takes 24'):
    fill.fill(loaded['mlm'], '[MASK] ' * 100)
