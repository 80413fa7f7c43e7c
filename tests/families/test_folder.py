"""Weights go in and out, whole and sharded, bit for bit."""

import functools
import importlib
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

import ctxlm
from ctxlm import plugins
from ctxlm.configs import finetune
from ctxlm.errors import UserError
from ctxlm.families import export, folder
from ctxlm.families.formats import tensors
from ctxlm.families.source import Source
from ctxlm.inference import conversion, fill, loading
from ctxlm.models import transformer
from ctxlm.objectives import mlm
from ctxlm.parallel import mesh as mesh_lib
from ctxlm.training import run_folder as run_lib
from tests.families import reference


@pytest.fixture(scope='module')
def drawn():
  return reference.draw('bert', 0)


def save(drawn, path, tokenizer=None):
  drawn.model.save_pretrained(path)
  if tokenizer:
    tokenizer.save(path)
  return path


def read(path, **options):
  """Returns (config block, parameters) of a folder."""
  opened = folder.open_folder(path, **options)
  return opened.block, opened.read_all()


def leaves(params):
  return {
    jax.tree_util.keystr(p): np.asarray(x)
    for p, x in jax.tree_util.tree_leaves_with_path(params)
  }


def assert_equal(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize('name', reference.FAMILIES)
@pytest.mark.parametrize('seed', [0, 1])
def test_round_trip_is_bit_equal(name, seed, tmp_path, tokenizer):
  drawn = reference.draw(name, seed)
  save(drawn, tmp_path / 'theirs')
  _, params, _ = ctxlm.load(tmp_path / 'theirs')
  block, _ = read(tmp_path / 'theirs')
  (tmp_path / 'ours').mkdir()
  original = json.loads((tmp_path / 'theirs/config.json').read_text())
  left_out = export.write(tmp_path / 'ours', block, params, tokenizer, original)
  assert not left_out
  back, info = type(drawn.model).from_pretrained(
    tmp_path / 'ours', output_loading_info=True
  )
  assert not info['missing_keys'] and not info['unexpected_keys']
  config = json.loads((tmp_path / 'ours/config.json').read_text())
  assert config['architectures'] == [type(drawn.model).__name__]
  # transformers writes that 1.1's embeddings are tied, and never ties them.
  skip = {'transformers_version', 'tie_word_embeddings' * (name == 't5')}
  for key in original.keys() - skip:
    assert config[key] == original[key], key
  wanted, found = drawn.model.state_dict(), back.state_dict()
  assert wanted.keys() == found.keys()
  for key in wanted:
    assert torch.equal(wanted[key], found[key]), key


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
  model = reference.draw('gpt2', 0).model
  with torch.no_grad():
    model.transformer.h[0].attn.c_proj.weight[1, 2] = value
  model.save_pretrained(tmp_path)
  with pytest.raises(UserError) as e:
    ctxlm.load(tmp_path)
  assert 'stack/layers_0/attention/out/kernel holds NaN or' in str(e.value)


@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_pytorch_file(drawn, tmp_path, old, dtype):
  _, wanted, _ = ctxlm.load(save(drawn, tmp_path))
  (tmp_path / 'model.safetensors').unlink()
  weights = drawn.model.state_dict()  # with the versions of its modules
  for k, v in weights.items():
    weights[k] = v.to(getattr(torch, dtype))
  path = tmp_path / 'pytorch_model.bin'
  torch.save(weights, path, _use_new_zipfile_serialization=not old)
  assert zipfile.is_zipfile(path) != old
  _, params, _ = ctxlm.load(tmp_path)
  cast = getattr(jnp, dtype)
  assert_equal(
    params,
    jax.tree.map(lambda x: x.astype(cast).astype(jnp.float32), wanted),
  )


def test_views_and_parameters_of_a_pytorch_file(tmp_path):
  path = tmp_path / 'pytorch_model.bin'
  whole = torch.arange(24.0).reshape(4, 6)
  weights = {
    'transposed': whole.T,
    'part': whole[1:3, 2:5],
    'parameter': torch.nn.Parameter(whole),
    'empty': torch.zeros(0, 3),
    'epoch': 3,
  }
  for old in (False, True):
    torch.save(weights, path, _use_new_zipfile_serialization=not old)
    found = tensors.open_folder(tmp_path)
    assert found.keys() == weights.keys() - {'epoch'}
    for name, x in found.items():
      np.testing.assert_array_equal(x, weights[name].detach().numpy())


@pytest.mark.parametrize('bin', [False, True])
def test_shards(drawn, tmp_path, bin):
  _, wanted, _ = ctxlm.load(save(drawn, tmp_path / 'one'))
  if bin:
    weights = list(drawn.model.state_dict().items())
    (tmp_path / 'many').mkdir()
    table = {}
    for i in range(3):
      name = f'pytorch_model-{i}.bin'
      torch.save(dict(weights[i::3]), tmp_path / 'many' / name)
      table |= dict.fromkeys(dict(weights[i::3]), name)
    index = tmp_path / 'many/pytorch_model.bin.index.json'
    index.write_text(json.dumps({'weight_map': table}))
    drawn.model.config.save_pretrained(tmp_path / 'many')
  else:
    drawn.model.save_pretrained(tmp_path / 'many', max_shard_size='10KB')
  assert len(list((tmp_path / 'many').glob('*-*'))) > 2
  _, params, _ = ctxlm.load(tmp_path / 'many')
  assert_equal(params, wanted)
  next((tmp_path / 'many').glob('*-*')).unlink()
  with pytest.raises(UserError, match='is missing; .*index.json names it'):
    ctxlm.load(tmp_path / 'many')


def test_written_shards_are_loaded_by_transformers(drawn, tmp_path, tokenizer):
  block, params = read(save(drawn, tmp_path / 'theirs'))
  (tmp_path / 'ours').mkdir()
  export.write(tmp_path / 'ours', block, params, tokenizer, shard=10_000)
  assert len(list((tmp_path / 'ours').glob('model-*.safetensors'))) > 2
  back = transformers.BertForPreTraining.from_pretrained(tmp_path / 'ours')
  for key, value in drawn.model.state_dict().items():
    assert torch.equal(value, back.state_dict()[key]), key


@pytest.mark.parametrize('name', ['llama', 'gpt2'])
def test_straight_into_shards_of_a_mesh(name, tmp_path):
  drawn = reference.draw(name, 0)
  folder_ = save(drawn, tmp_path)
  _, wanted, _ = ctxlm.load(folder_)
  placement = mesh_lib.Mesh(jax.devices()[:4], fsdp=2, tensor=2)
  _, params, _ = ctxlm.load(folder_, placement=placement)
  assert_equal(params, wanted)
  for path, x in jax.tree_util.tree_leaves_with_path(params):
    assert x.sharding.mesh == placement.mesh, path
  kernel = params['stack']['layers_0']['mlp']['up']['kernel']
  assert kernel.addressable_shards[0].data.size < kernel.size


def test_only_the_shard_is_read(tmp_path):
  drawn = reference.draw('llama', 0)
  family = folder.find('llama')
  asked = []

  class Spy:
    def __init__(self, x):
      self.x, self.shape = x, x.shape

    def __getitem__(self, slices):
      asked.append(self.x[slices].size)
      return self.x[slices]

  weights = {k: v.numpy() for k, v in drawn.model.state_dict().items()}
  save(drawn, tmp_path)
  model, _, _ = ctxlm.load(tmp_path)
  source = Source(family, {k: Spy(v) for k, v in weights.items()})
  places = source.places(folder.shapes(model), reference.options_of(model))
  for path, p in places.items():
    shape = p.shape.shape
    asked.clear()
    half = slice(0, shape[0] // 2), *(slice(0, n) for n in shape[1:])
    whole = p.read(tuple(slice(0, n) for n in shape))
    np.testing.assert_array_equal(p.read(half), whole[half[0]], err_msg=path)
    assert asked[1] == whole[half[0]].size, path


def test_scanned_layers_are_stacked(tmp_path, tokenizer):
  drawn = reference.draw('llama', 0)
  save(drawn, tmp_path / 'theirs')
  block, params = read(tmp_path / 'theirs', scan_layers=True)
  _, wanted, _ = ctxlm.load(tmp_path / 'theirs')
  layers = [
    v for k, v in sorted(wanted['stack'].items()) if k.startswith('layers_')
  ]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *layers)
  assert_equal(params['stack']['layers'], stacked)
  (tmp_path / 'ours').mkdir()
  export.write(tmp_path / 'ours', block, params, tokenizer)
  _, back, _ = ctxlm.load(tmp_path / 'ours')
  assert_equal(back, wanted)


@pytest.fixture
def small(tmp_path, tokenizer):
  """A BERT with a tokenizer, saved as `tmp_path / 'theirs'`."""
  drawn = reference.draw('bert', 0)
  drawn.model.resize_token_embeddings(tokenizer.vocab_size)
  save(drawn, tmp_path / 'theirs', tokenizer)
  return drawn


def test_round_trip_through_a_model_folder(small, tmp_path):
  conversion.convert(tmp_path / 'theirs', to=tmp_path / 'model')
  wanted, found = (loading.load(tmp_path / n) for n in ('theirs', 'model'))
  assert found.block == wanted.block
  assert_equal(found.params, wanted.params)
  assert found.tokenizer.fingerprint == wanted.tokenizer.fingerprint
  best = fill.fill(found, 'the quick [MASK] fox', top=3)
  assert len(best) == 1 and len(best[0]) == 3
  count, left_out = conversion.convert(
    tmp_path / 'model', to_hf=tmp_path / 'back'
  )
  assert count == sum(p.numel() for p in small.model.parameters())
  assert not left_out
  back = type(small.model).from_pretrained(tmp_path / 'back')
  for key, value in small.model.state_dict().items():
    assert torch.equal(value, back.state_dict()[key]), key
  config = json.loads((tmp_path / 'back/config.json').read_text())
  assert config['classifier_dropout'] is None  # of what we know nothing of


def test_model_folders_are_no_runs(small, tmp_path):
  """Each verb that needs more says so in one line."""
  conversion.convert(tmp_path / 'theirs', to=tmp_path / 'model')
  assert not (tmp_path / 'model/config.json').exists()
  with pytest.raises(UserError, match='has no tasks, data or evaluators: name'):
    run_lib.load(tmp_path / 'model')
  with pytest.raises(UserError, match='has no tasks, data or evaluators: name'):
    run_lib.agree(finetune.get_config(tmp_path / 'model'), tmp_path / 'model')
  about = json.loads((tmp_path / 'model/model.json').read_text())
  (tmp_path / 'model/model.json').write_text(json.dumps(about | {'layout': 9}))
  with pytest.raises(UserError, match='of layout 9, this is for 1'):
    loading.load(tmp_path / 'model')
  about['model']['vocab_size'] = 0
  (tmp_path / 'model/model.json').write_text(json.dumps(about))
  with pytest.raises(UserError, match='model.json: no such model'):
    loading.load(tmp_path / 'model')


def recipe(name):
  """Returns the model block of a recipe, made small."""
  block = importlib.import_module(f'ctxlm.configs.{name}').get_config().model
  small = {'hidden_size': 24, 'num_layers': 2, 'num_heads': 4, 'mlp_dim': 40}
  small |= {'vocab_size': 90, 'max_length': 16, 'dtype': 'float32'}
  if 'num_kv_heads' in block:
    small['num_kv_heads'] = 2
  return block.to_dict() | small


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, kind, head',
  [
    ('quickstart_causal', 'GPT2LMHeadModel', transformer.Model.logits),
    ('llama_1b', 'LlamaForCausalLM', transformer.Model.logits),
    ('bert_base', 'BertForMaskedLM', mlm.mlm_logits),
  ],
)
def test_what_was_trained_here_goes_out(name, kind, head, tmp_path, tokenizer):
  block = recipe(name)
  model = plugins.build('models', block)
  tokens = np.random.default_rng(0).integers(5, 90, (2, 9))

  def forward(model):
    return head(model, model(tokens))

  init = functools.partial(model.init, method=forward)
  params = init(jax.random.key(0))['params']
  params = jax.tree.map(
    lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params
  )
  export.write(tmp_path, block, params, tokenizer)
  export.write_tokenizer(tmp_path, tokenizer, model)
  theirs, info = getattr(transformers, kind).from_pretrained(
    tmp_path, output_loading_info=True
  )
  assert not info['missing_keys'] and not info['unexpected_keys']
  with torch.no_grad():
    wanted = theirs.eval()(torch.tensor(tokens)).logits
  ours = model.apply({'params': params}, method=forward)
  np.testing.assert_allclose(ours, wanted, atol=1e-4)
  assert theirs.config.pad_token_id == tokenizer.pad_id
  # And in again.
  _, again, _ = ctxlm.load(tmp_path, scan_layers=model.scan_layers)
  assert_equal(again, params)


def test_models_without_a_family_say_what_differs(tmp_path, tokenizer):
  block = recipe('quickstart_causal') | {'position': 'alibi'}
  with pytest.raises(UserError, match="nearest is gpt2.*position='alibi'"):
    export.write(tmp_path, block, {}, tokenizer)
