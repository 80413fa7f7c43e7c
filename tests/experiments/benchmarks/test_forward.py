"""The benchmark of sentence vectors runs, and compares equal vectors."""

import json

import numpy as np
import pytest

from ctxlm.experiments.benchmarks import forward


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
  results = forward.main(['--smoke', '--out', str(tmp_path)])
  assert json.loads((tmp_path / 'results.json').read_text()) == results
  speed = results['sentences_per_second']
  ratio = speed['ctxlm'] / speed['sentence-transformers']
  assert results['ratio'] == pytest.approx(ratio)
  assert f'ratio {ratio:.2f}' in capsys.readouterr().out


def test_other_vectors_are_not_compared():
  vectors = np.random.default_rng(0).normal(size=(5, 4))
  contenders = {'ctxlm': lambda _: vectors, 'other': lambda _: vectors + 0.01}
  with pytest.raises(AssertionError, match='Not equal'):
    forward.measure(contenders, [], 1)


def test_sentences_are_of_mixed_length():
  texts = forward.read_sentences(2000)
  assert len(set(texts)) == 2000
  words = [len(t.split()) for t in texts]
  assert min(words) < 5 and max(words) > 40
