"""Pooling of hidden states, against sentence-transformers' own."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import modules

from ctxlm.families import sentence
from ctxlm.objectives import pooling


@pytest.mark.parametrize('kind', pooling.KINDS)
def test_equals_sentence_transformers(kind):
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(4, 5, 3)).astype(np.float32)
  segments = (np.arange(5) < [[1], [3], [5], [4]]).astype(np.int32)
  theirs = modules.Pooling(3, kind)(
    {
      'token_embeddings': torch.tensor(hidden),
      'attention_mask': torch.tensor(segments),
    }
  )['sentence_embedding']
  found = pooling.pool(kind, jnp.asarray(hidden), jnp.asarray(segments))
  np.testing.assert_allclose(found, theirs, atol=1e-6)


def test_all_of_theirs():
  assert set(modules.Pooling.POOLING_MODES) == set(pooling.KINDS)
  assert set(sentence.POOLINGS) == set(pooling.KINDS)
  assert set(sentence.ACTIVATIONS) <= set(pooling.ACTIVATIONS)
