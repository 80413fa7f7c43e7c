"""Sentence vectors equal those of sentence-transformers, in and out."""

import os
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import sentence_transformers
import transformers as tr
from sentence_transformers.sentence_transformer import modules

from ctxlm import convert, loading, parallel, run
from ctxlm.data import tokenizer as tokenizer_lib
from ctxlm.embed import Embedder
from ctxlm.errors import UserError
from ctxlm.families import sentence
from tests.families import lines, reference

TEXTS = ['', *lines.make(70, plain=True)]
CASES = [('cls', False), ('mean', True), ('mean', False)]


@pytest.fixture(scope='module', params=CASES, ids=lambda c: f'{c[0]}-{c[1]}')
def folder(request, tmp_path_factory):
  """A MiniLM-shaped folder that sentence-transformers wrote."""
  pooling, normalise = request.param
  path = tmp_path_factory.mktemp('folder')
  ours = tokenizer_lib.train('wordpiece', 700, TEXTS)
  vocab = '\n'.join(ours.tokens(range(ours.vocab_size))) + '\n'
  (path / 'vocab.txt').write_text(vocab, encoding='utf-8')
  tr.BertTokenizer(vocab=str(path / 'vocab.txt')).save_pretrained(path / 'b')
  model = tr.BertModel(
    tr.BertConfig(
      vocab_size=ours.vocab_size,
      hidden_size=24,
      num_hidden_layers=2,
      num_attention_heads=4,
      intermediate_size=48,
      max_position_embeddings=64,
    )
  )
  reference.randomise(model)
  model.save_pretrained(path / 'b')
  chain = [
    modules.Transformer(str(path / 'b'), max_seq_length=32),
    modules.Pooling(24, pooling),
  ]
  if normalise:
    chain.append(modules.Normalize())
  theirs = sentence_transformers.SentenceTransformer(modules=chain)
  theirs.save(str(path / 's'))
  return path / 's'


def theirs(folder):
  model = sentence_transformers.SentenceTransformer(str(folder))
  return model.encode(TEXTS, show_progress_bar=False)


def ours(folder, devices=1, **more):
  where = parallel.Pmap(jax.devices()[:devices])
  return Embedder(loading.load(folder, where), where, **more)(TEXTS)


def test_equals_sentence_transformers(folder):
  wanted = theirs(folder)
  assert np.abs(wanted).std() > 0.01
  for devices, size in ((1, 8), (8, 32)):
    vectors = ours(folder, devices, batch_size=size)
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


def test_round_trip(folder, tmp_path):
  convert.convert(folder, to=tmp_path / 'run')
  convert.convert(tmp_path / 'run', to_hf=tmp_path / 'back')
  wanted = theirs(folder)
  assert theirs(tmp_path / 'back').tobytes() == wanted.tobytes()
  found = loading.load(tmp_path / 'run')
  vectors = Embedder(found, found.run.where)(TEXTS)
  np.testing.assert_allclose(vectors, wanted, atol=1e-5)


@pytest.mark.parametrize('pooling', ['cls', 'mean'])
def test_trained_vectors_go_out(folder, pooling, tmp_path):
  """A contrastive run of ours is a SentenceTransformer."""
  found = loading.load(folder)
  plain = types.SimpleNamespace(pooling=pooling)
  found = loading.dataclasses.replace(found, sentence=plain, small=None)
  convert.write_run(found, tmp_path / 'run')
  assert run.load(tmp_path / 'run').tasks[0].objective.pooling == pooling
  _, left_out = convert.convert(tmp_path / 'run', to_hf=tmp_path / 'out')
  assert not left_out
  trained = loading.load(tmp_path / 'run')
  embedder = Embedder(trained, trained.run.where)
  assert embedder.pooling == pooling and not embedder.normalise
  np.testing.assert_allclose(
    embedder(TEXTS), theirs(tmp_path / 'out'), atol=1e-5
  )


def test_files_of_older_releases(folder, tmp_path):
  wanted = sentence.read(folder)
  assert wanted.max_length == 32
  sentence.write(tmp_path, wanted, 24)
  assert sentence.read(tmp_path) == wanted


@pytest.mark.parametrize(
  'name, old, new, wanted',
  [
    ('modules.json', 'Pooling"', 'Dense"', 'modules Transformer, Dense'),
    ('modules.json', '[', '{', 'is no list of modules'),
    ('1_Pooling/config.json', '"pooling_mode": "', '"pooling_mode": "x', "'x"),
  ],
)
def test_other_modules_are_refused(folder, tmp_path, name, old, new, wanted):
  from ctxlm.families import files

  files.copy_small(folder, tmp_path)
  path = tmp_path / name
  path.write_text(path.read_text().replace(old, new))
  with pytest.raises(UserError, match=wanted):
    sentence.read(tmp_path)


def test_command(folder, tmp_path):
  def command(**flags):
    argv = [sys.executable, '-m', 'ctxlm.cli', 'embed']
    argv += [f'--{k}={v}' for k, v in flags.items()]
    env = os.environ | {'XLA_FLAGS': '', 'CTXLM_CACHE': str(tmp_path / 'cache')}
    return subprocess.run(argv, capture_output=True, text=True, env=env)

  (tmp_path / 'in.txt').write_text('a fox\nthe lazy dog\n\nü\n')
  flags = {'model': folder, 'input': tmp_path / 'in.txt'}
  done = command(**flags, output=tmp_path / 'out.npy')
  assert done.returncode == 0, done.stderr
  assert 'line 4/4' in done.stderr
  model = sentence_transformers.SentenceTransformer(str(folder))
  wanted = model.encode(['a fox', 'the lazy dog', '', 'ü'])
  np.testing.assert_allclose(np.load(tmp_path / 'out.npy'), wanted, atol=1e-5)
  if folder.parent.name.endswith('0'):  # once is enough
    for wrong, wanted in (
      ({'output': tmp_path / 'no/out.npy'}, '--output'),
      ({'output': tmp_path / 'b.npy', 'input': tmp_path / 'no'}, '--input'),
      ({'output': tmp_path / 'b.npy', 'model': tmp_path}, 'no file'),
    ):
      done = command(**flags | wrong)
      assert done.returncode == 2 and done.stderr.count('\n') == 1
      assert wanted in done.stderr and not (tmp_path / 'b.npy').exists()
