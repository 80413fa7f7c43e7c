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

from ctxlm.commands import convert
from ctxlm.commands.embed import Embedder
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.families import sentence
from ctxlm.inference import loading
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.training import run_folder as run
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
  placement = pmap_lib.Pmap(jax.devices()[:devices])
  return Embedder(loading.load(folder, placement), placement, **more)(TEXTS)


def test_equals_sentence_transformers(folder):
  wanted = theirs(folder)
  assert np.abs(wanted).std() > 0.01
  for devices, size in ((1, 8), (8, 32)):
    vectors = ours(folder, devices, batch_size=size)
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


@pytest.mark.parametrize('folder', CASES[1:2], indirect=True)
def test_round_trip(folder, tmp_path):
  convert.convert(folder, to=tmp_path / 'run')
  convert.convert(tmp_path / 'run', to_hf=tmp_path / 'back')
  wanted = theirs(folder)
  assert theirs(tmp_path / 'back').tobytes() == wanted.tobytes()
  found = loading.load(tmp_path / 'run')
  vectors = Embedder(found, found.run.program.placement)(TEXTS)
  np.testing.assert_allclose(vectors, wanted, atol=1e-5)


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
@pytest.mark.parametrize('pooling', ['cls', 'mean'])
def test_trained_vectors_go_out(folder, pooling, tmp_path):
  """A contrastive run of ours is a SentenceTransformer."""
  found = loading.load(folder)
  plain = types.SimpleNamespace(pooling=pooling)
  found = loading.dataclasses.replace(found, sentence=plain, small=None)
  convert.write_run(found, tmp_path / 'run')
  assert (
    run.load(tmp_path / 'run').program.tasks[0].objective.pooling == pooling
  )
  _, left_out = convert.convert(tmp_path / 'run', to_hf=tmp_path / 'out')
  assert not left_out
  trained = loading.load(tmp_path / 'run')
  embedder = Embedder(trained, trained.run.program.placement)
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


def command(folder, tmp_path, **flags):
  argv = [sys.executable, '-m', 'ctxlm', 'embed']
  flags = {
    'model': folder,
    'input': tmp_path / 'in.txt',
    'output': tmp_path / 'out.npy',
  } | flags
  argv += [f'--{k}={v}' for k, v in flags.items()]
  env = os.environ | {'XLA_FLAGS': '', 'CTXLM_CACHE': str(tmp_path / 'cache')}
  (tmp_path / 'in.txt').write_text('a fox\nthe lazy dog\n\nü\n')
  return subprocess.run(argv, capture_output=True, text=True, env=env)


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
def test_command(folder, tmp_path):
  done = command(folder, tmp_path)
  assert done.returncode == 0 and 'line 4/4' in done.stderr, done.stderr
  model = sentence_transformers.SentenceTransformer(str(folder))
  wanted = model.encode(['a fox', 'the lazy dog', '', 'ü'])
  np.testing.assert_allclose(np.load(tmp_path / 'out.npy'), wanted, atol=1e-5)


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
@pytest.mark.parametrize(
  'flag, value, wanted',
  [
    ('output', '/none/out.npy', '--output /none/out.npy'),
    ('input', '/none', '--input /none'),
    ('model', '/none', 'no folder /none'),
  ],
)
def test_mistakes(folder, tmp_path, flag, value, wanted):
  done = command(folder, tmp_path, **{flag: value})
  assert done.returncode == 2 and done.stderr.count('\n') == 1
  assert wanted in done.stderr
  assert not (tmp_path / 'out.npy').exists()


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
def test_pooling_is_asked_for(folder):
  placement = pmap_lib.Pmap(jax.devices()[:1])
  found = loading.dataclasses.replace(
    loading.load(folder, placement), sentence=None
  )
  with pytest.raises(UserError, match='choose --pooling cls or mean'):
    Embedder(found, placement)
  assert Embedder(found, placement, 'mean').pooling == 'mean'
