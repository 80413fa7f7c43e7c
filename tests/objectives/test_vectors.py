"""Sentence vectors equal those of sentence-transformers, in and out."""

import dataclasses
import shutil
import sys

import jax
import numpy as np
import pytest
import sentence_transformers
import torch
import transformers as tr
from ml_collections import ConfigDict
from sentence_transformers.base import modules as base
from sentence_transformers.sentence_transformer import modules

from ctxlm import cli, trees
from ctxlm.configs import common, finetune
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.families import sentence, small_files
from ctxlm.inference import conversion, loading
from ctxlm.objectives.vectors import Embedder
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.training import loop
from tests import tiny
from tests.families import lines, reference

TEXTS = ['', *lines.make(70, plain=True)]
CASES = [('cls', False), ('mean', True), ('mean', False)]
DENSE = ('weightedmean', True, 'dense')  # with linear maps behind the pooling
MAPS = (
  {'size': 10, 'activation': 'gelu', 'bias': True},
  {'size': 6, 'activation': '', 'bias': False},
)


@pytest.fixture(
  scope='module', params=CASES, ids=lambda c: '-'.join(map(str, c))
)
def folder(request, tmp_path_factory):
  """A MiniLM-shaped folder that sentence-transformers wrote."""
  pooling, normalise, *dense = request.param
  path = tmp_path_factory.mktemp('folder')
  ours = tokenizer_lib.train('wordpiece', 700, TEXTS)
  vocab = '\n'.join(ours.tokens(range(ours.vocab_size))) + '\n'
  (path / 'vocab.txt').write_text(vocab, encoding='utf-8')
  tr.BertTokenizer(vocab=str(path / 'vocab.txt')).save_pretrained(path / 'b')
  model = tr.BertModel(
    tr.BertConfig(
      vocab_size=ours.vocab_size,
      hidden_size=24,
      num_hidden_layers=1,
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
  if dense:
    chain.append(base.Dense(24, 10, activation_function=torch.nn.GELU()))
    chain.append(base.Dense(10, 6, bias=False, activation_function=None))
  if normalise:
    chain.append(modules.Normalize())
  theirs = sentence_transformers.SentenceTransformer(modules=chain)
  theirs.save(str(path / 's'), safe_serialization=not dense)  # or .bin
  return path / 's'


def theirs(folder):
  model = sentence_transformers.SentenceTransformer(str(folder))
  return model.encode(TEXTS, show_progress_bar=False)


def ours(folder, devices=1, **more):
  placement = pmap_lib.Pmap(jax.devices()[:devices])
  return Embedder(loading.load(folder, placement), placement, **more)(TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize(
  'folder', [*CASES, DENSE], indirect=True, ids=lambda c: str(c[0])
)
def test_equals_sentence_transformers(folder):
  wanted = theirs(folder)
  assert np.abs(wanted).std() > 0.01
  for devices, size in ((1, 8), (8, 32)):
    vectors = ours(folder, devices, batch_size=size)
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('folder', [CASES[1], DENSE], indirect=True)
def test_round_trip(folder, tmp_path):
  conversion.convert(folder, to=tmp_path / 'model')
  conversion.convert(tmp_path / 'model', to_hf=tmp_path / 'back')
  wanted = theirs(folder)
  assert theirs(tmp_path / 'back').tobytes() == wanted.tobytes()
  np.testing.assert_allclose(ours(tmp_path / 'model'), wanted, atol=1e-5)


def trained(folder, tmp_path, **objective):
  """Returns a run of one step from a folder's parameters, loaded."""
  c = finetune.get_config(folder)
  (tmp_path / 'text.txt').write_text('\n\n'.join(t for t in TEXTS if t))
  c.tasks.text.data.pattern = str(tmp_path / 'text.txt')
  c.tasks.text.objective = {'name': 'contrastive'} | objective
  c.num_steps, c.batch_size, c.max_length = 1, 8, 24
  c.optimizer.warmup_steps = 1
  c.evaluators = ConfigDict()
  placement = pmap_lib.Pmap(jax.devices()[:1])
  loop.train(c, tmp_path / 'run', placement)
  return loading.load(tmp_path / 'run', placement)


def assert_out_as_theirs(found, tmp_path):
  _, left_out = conversion.convert(tmp_path / 'run', to_hf=tmp_path / 'out')
  assert all('projection' in name for name in left_out)
  embedder = Embedder(found, found.run.program.placement)
  np.testing.assert_allclose(
    embedder(TEXTS), theirs(tmp_path / 'out'), atol=1e-5
  )
  return embedder


@pytest.mark.slow
@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
def test_trained_vectors_go_out(folder, tmp_path):
  """A contrastive run of ours, from a plain encoder, is one of theirs."""
  inner = sentence.read(folder).path
  found = trained(folder / inner, tmp_path, pooling='mean')
  assert found.sentence.pooling == 'mean'
  embedder = assert_out_as_theirs(found, tmp_path)
  assert embedder.pooling == 'mean' and not embedder.normalise


@pytest.mark.slow
@pytest.mark.parametrize('folder', CASES[1:2], indirect=True)
def test_normalisation_survives_training(folder, tmp_path):
  """What a sentence encoder does beside its pooling stays, in and out."""
  found = trained(folder, tmp_path, pooling='cls')  # and not its 'mean'
  embedder = assert_out_as_theirs(found, tmp_path)
  assert embedder.pooling == 'cls' and embedder.normalise
  norms = np.linalg.norm(theirs(tmp_path / 'out'), axis=1)
  np.testing.assert_allclose(norms, 1, atol=1e-5)
  assert embedder.max_length == 32  # of the folder's own settings
  # The same by way of a model folder.
  conversion.convert(tmp_path / 'run', to=tmp_path / 'model')
  np.testing.assert_allclose(
    ours(tmp_path / 'model'), embedder(TEXTS), atol=1e-5
  )


@pytest.mark.slow
@pytest.mark.parametrize('folder', [DENSE], indirect=True)
def test_linear_maps_are_trained(folder, tmp_path):
  """They begin from the folder's, learn, and go out with the rest."""
  assert common.vectors(folder) == {'pooling': DENSE[0], 'dense': MAPS}
  with pytest.raises(UserError, match="objective.dense=.*'size': 10"):
    trained(folder, tmp_path, pooling=DENSE[0])
  with pytest.raises(UserError, match="dense.activation='softmax' must be"):
    trained(folder, tmp_path, dense=({'size': 3, 'activation': 'softmax'},))
  with pytest.raises(UserError, match='dense.size is missing'):
    trained(folder, tmp_path, dense=({'bias': True},))
  found = trained(folder, tmp_path, pooling=DENSE[0], dense=MAPS)
  before, after = (
    trees.flatten(x.params['heads']['sentence'])
    for x in (loading.load(folder), found)
  )
  for path, x in before.items():
    change = np.asarray(after[path]) - np.asarray(x)
    assert 0 < np.abs(change).max() < 1e-3
  embedder = assert_out_as_theirs(found, tmp_path)
  vectors = embedder(TEXTS)
  assert vectors.shape[1] == 6 == embedder([]).shape[1]
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
  conversion.convert(tmp_path / 'run', to=tmp_path / 'model')
  np.testing.assert_allclose(ours(tmp_path / 'model'), vectors, atol=1e-5)


@pytest.mark.parametrize('folder', [DENSE], indirect=True)
def test_maps_that_can_not_be_read(folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'a')
  path = tmp_path / 'a/2_Dense/config.json'
  text = path.read_text()
  for old, new, wanted in (
    ('.GELU', '.Softplus', 'a Dense with Softplus is not supported'),
    ('"bias"', '"use_residual": true, "bias"', 'a Dense with a residual'),
    ('"sentence_embedding"', '"token_embeddings"', 'of the sentence by'),
    ('"out_features": 10', '"out_features": 0', 'out_features=0 must be 1'),
    ('"out_features": 10', '"out_features": 9', r'weight is \(10, 24\), and'),
  ):
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=wanted):
      loading.load(tmp_path / 'a')
  path.write_text(text)
  (path.parent / 'pytorch_model.bin').unlink()
  with pytest.raises(UserError, match='2_Dense has no model.safetensors'):
    loading.load(tmp_path / 'a')


@pytest.mark.parametrize('folder', CASES[1:2], indirect=True)
def test_what_says_otherwise_goes(folder, tmp_path):
  """A folder of settings says what is true of the vectors, or nothing."""
  small_files.copy_small(folder, tmp_path)
  own = sentence.read(folder)
  sentence.restate(tmp_path, own, 24)
  assert (tmp_path / 'modules.json').read_text() == (
    folder / 'modules.json'
  ).read_text()
  other = dataclasses.replace(own, pooling='max', normalise=False)
  sentence.restate(tmp_path, other, 24)
  assert sentence.read(tmp_path) == other
  sentence.restate(tmp_path, None, 24)
  assert sentence.read(tmp_path) is None
  assert not list(tmp_path.glob('[0-9]_[P-Z]*'))


def test_files_of_older_releases(folder, tmp_path):
  wanted = sentence.read(folder)
  assert wanted.max_length == 32
  sentence.restate(tmp_path, wanted, 24)
  assert sentence.read(tmp_path) == wanted


@pytest.mark.parametrize(
  'name, old, new, wanted',
  [
    ('modules.json', 'Pooling"', 'Dense"', 'modules Transformer, Dense'),
    ('modules.json', 'Pooling"', 'WordWeights"', 'any Dense and a Normalize'),
    ('modules.json', '[', '{', 'is no list of modules'),
    ('1_Pooling/config.json', '"pooling_mode": "', '"pooling_mode": "x', "'x"),
  ],
)
def test_other_modules_are_refused(folder, tmp_path, name, old, new, wanted):
  small_files.copy_small(folder, tmp_path)
  path = tmp_path / name
  path.write_text(path.read_text().replace(old, new))
  with pytest.raises(UserError, match=wanted):
    sentence.read(tmp_path)


# Only \n ends a line.
LINES = ['a fox', 'the\x0clazy\x85dog', '', 'ü', 'two\u2028three', 'four']
INPUT = '\n'.join(LINES) + '\n'


def flags_of(folder, tmp_path, **flags):
  flags = {
    'model': folder,
    'input': tmp_path / 'in.txt',
    'output': tmp_path / 'out.npy',
  } | flags
  (tmp_path / 'in.txt').write_text(INPUT)
  return [f'--{k}={v}' for k, v in flags.items()]


@pytest.mark.slow
@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
def test_command(folder, tmp_path):
  argv = [sys.executable, '-m', 'ctxlm', 'embed', *flags_of(folder, tmp_path)]
  errors = tmp_path / 'errors'
  process = tiny.fork(argv, 1, errors, haste=True)
  process.join(300)
  told = errors.read_text()
  assert process.exitcode == 0 and 'line 6/6' in told, told
  model = sentence_transformers.SentenceTransformer(str(folder))
  wanted = model.encode(LINES)
  np.testing.assert_allclose(np.load(tmp_path / 'out.npy'), wanted, atol=1e-5)


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
@pytest.mark.parametrize(
  'flag, value, wanted',
  [
    ('output', '/none/out.npy', '--output /none/out.npy'),
    ('input', '/none', "--input: can't read /none"),
    ('model', '/none', 'no folder /none'),
  ],
)
def test_mistakes(folder, tmp_path, capsys, flag, value, wanted):
  flags = flags_of(folder, tmp_path, **{flag: value})
  capsys.readouterr()
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', 'embed', *flags])
  told = capsys.readouterr().err
  assert e.value.code == 2 and told.count('\n') == 1 and wanted in told
  assert not (tmp_path / 'out.npy').exists()


def test_a_text_of_no_token_has_no_vector(runs):
  run = loading.load(runs['causal'].workdir)
  run.tokenizer.__dict__['template'] = ((), ())
  made = Embedder(run, pmap_lib.Pmap(jax.devices()[:1]), 'mean')
  assert np.isfinite(made(['the cat'])).all()
  with pytest.raises(UserError, match='text 1, counted from 0, has no token'):
    made(['the cat', ''])


@pytest.mark.parametrize('folder', CASES[:1], indirect=True)
def test_pooling_is_asked_for(folder):
  placement = pmap_lib.Pmap(jax.devices()[:1])
  found = loading.dataclasses.replace(
    loading.load(folder, placement), sentence=None
  )
  with pytest.raises(UserError, match='choose --pooling cls or mean'):
    Embedder(found, placement)
  assert Embedder(found, placement, 'mean').pooling == 'mean'
