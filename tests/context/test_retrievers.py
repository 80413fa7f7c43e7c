"""Texts that are near by their vectors, as the encoder itself makes them."""

import numpy as np
import pytest

import ctxlm
from ctxlm.context.retrievers import vectors
from ctxlm.errors import UserError
from ctxlm.inference import conversion

TEXTS = ['the cat sees the moon', 'my friend likes it', 'a bird finds stones']


def test_vectors_are_the_encoders_own(runs, tmp_path):
  run, folder = runs['contrastive'].workdir, tmp_path / 'encoder'
  conversion.convert(run, to=folder)
  lm = ctxlm.load(folder)
  own = lm.embed(TEXTS)
  own = own / np.linalg.norm(own, axis=1, keepdims=True)
  ids = [np.array(lm.tokenizer.encode(text)) for text in TEXTS]
  retriever = vectors.Retriever(str(folder))
  index = retriever.index(ids, lm.tokenizer)
  found = index.scores(ids[:2])
  np.testing.assert_allclose(found, own[:2] @ own.T, atol=1e-5)
  assert retriever.key == vectors.Retriever(str(folder)).key
  with pytest.raises(UserError, match='is a run folder: ctxlm convert'):
    _ = vectors.Retriever(str(run)).key
