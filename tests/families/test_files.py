"""Files of weights: in and out, whole and sharded, damaged and hostile."""

import json
import pickle
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

import ctxlm
from ctxlm import convert, parallel
from ctxlm.data import tokenizer as tokenizer_lib
from ctxlm.errors import UserError
from ctxlm.families import export, folder, tensors
from tests.families import reference

TEXTS = ['the quick brown fox jumps over the lazy dog', 'pack my box'] * 9


@pytest.fixture(scope='module')
def tokenizer():
  return tokenizer_lib.train('wordpiece', 90, TEXTS)


@pytest.fixture(scope='module')
def drawn():
  return reference.draw('bert', 0)


def save(drawn, path, tokenizer=None):
  drawn.model.save_pretrained(path)
  if tokenizer:
    tokenizer.save(path)
  return path


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
  block, _ = folder.read(tmp_path / 'theirs')
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


@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_pytorch_file(drawn, tmp_path, old, dtype):
  _, wanted, _ = ctxlm.load(save(drawn, tmp_path))
  (tmp_path / 'model.safetensors').unlink()
  weights = {
    k: v.to(getattr(torch, dtype)) for k, v in drawn.model.state_dict().items()
  }
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
  block, params = folder.read(save(drawn, tmp_path / 'theirs'))
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
  where = parallel.Mesh([1, 2, 2, 1], jax.devices()[:4])
  _, params, _ = ctxlm.load(folder_, where=where)
  assert_equal(params, wanted)
  for path, x in jax.tree_util.tree_leaves_with_path(params):
    assert x.sharding.mesh == where.mesh, path
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
  source = folder.Source(family, {k: Spy(v) for k, v in weights.items()})
  places = source.places(folder.shapes(model), folder.complete_of(model))
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
  block, params = folder.read(tmp_path / 'theirs', scan_layers=True)
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


def contents(path):
  return {
    str(p.relative_to(path)): p.read_bytes() if p.is_file() else None
    for p in path.rglob('*')
  }


class Evil:
  """Unpickled, it would write a file."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, 'w')


def break_truncated(path):
  file = path / 'model.safetensors'
  file.write_bytes(file.read_bytes()[:-5])
  return 'model.safetensors is damaged'


def break_header(path):
  (path / 'model.safetensors').write_bytes(b'\xff' * 100)
  return 'model.safetensors is damaged'


def break_family(path):
  change(path, model_type='bertt')
  return "no family of model_type 'bertt'. Did you mean 'bert'?"


def break_json(path):
  (path / 'config.json').write_text('{')
  return 'config.json is not JSON'


def break_no_config(path):
  (path / 'config.json').unlink()
  return 'no file'


def break_no_weights(path):
  (path / 'model.safetensors').unlink()
  return 'has no model.safetensors'


def break_key(path):
  change(path, hidden_size=None)
  return "config.json has no 'hidden_size'"


def break_activation(path):
  change(path, hidden_act='mish')
  return "activation 'mish' is not supported"


def break_decoder(path):
  change(path, is_decoder=True)
  return 'is_decoder=True is not supported'


def break_shape(path):
  change(path, intermediate_size=77)
  return 'has shape [8, 12]; config.json asks for [8, 77]'


def break_missing(path):
  change_weights(path, lambda w: w.pop('bert.embeddings.LayerNorm.bias'))
  return 'embeddings.LayerNorm.bias is missing'


def break_missing_of_head(path):
  change_weights(path, lambda w: w.pop('bert.pooler.dense.bias'))
  return 'pooler.dense.bias is missing'


def break_extra(path):
  change_weights(
    path,
    lambda w: w.update({'classifier.weight': w['cls.seq_relationship.weight']}),
  )
  return 'classifier.weight, which has no place in a bert model'


def break_vocabulary(path):
  file = path / 'tokenizer.json'
  content = json.loads(file.read_text())
  content['added_tokens'].append(
    content['added_tokens'][0] | {'id': 5000, 'content': '[MORE]'}
  )
  for i in range(100):
    content['model']['vocab'][f'more{i}'] = 90 + i
  file.write_text(json.dumps(content))
  return 'tokens, more than the'


def break_tokenizer(path):
  (path / 'tokenizer.json').write_text('{}')
  return 'tokenizer.json is no tokenizer'


def break_no_tokenizer(path):
  (path / 'tokenizer.json').unlink()
  return 'has no tokenizer'


def evil(old):
  def break_pickle(path):
    (path / 'model.safetensors').unlink()
    victim = path.parent / 'executed'
    weights = {'a': torch.zeros(3), 'b': Evil(victim)}
    torch.save(
      weights,
      path / 'pytorch_model.bin',
      _use_new_zipfile_serialization=not old,
    )
    return 'it asks to run '

  return break_pickle


def break_plain_pickle(path):
  (path / 'model.safetensors').unlink()
  with (path / 'pytorch_model.bin').open('wb') as f:
    pickle.dump({'b': Evil(path.parent / 'executed')}, f)
  return 'it asks to run '


def break_bin(cut):
  def break_(path):
    weights = safetensors.numpy.load_file(path / 'model.safetensors')
    (path / 'model.safetensors').unlink()
    file = path / 'pytorch_model.bin'
    torch.save(
      {k: torch.tensor(v) for k, v in weights.items()},
      file,
      _use_new_zipfile_serialization=cut != 'old',
    )
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2 if cut != 'start' else 9])
    return 'pytorch_model.bin'

  return break_


def change(path, **keys):
  config = json.loads((path / 'config.json').read_text()) | keys
  (path / 'config.json').write_text(json.dumps(config))


def change_weights(path, function):
  file = path / 'model.safetensors'
  weights = safetensors.numpy.load_file(file)
  function(weights)
  safetensors.numpy.save_file(weights, file)


MISTAKES = [
  break_truncated,
  break_header,
  break_family,
  break_json,
  break_no_config,
  break_no_weights,
  break_key,
  break_activation,
  break_decoder,
  break_shape,
  break_missing,
  break_missing_of_head,
  break_extra,
  break_vocabulary,
  break_tokenizer,
  break_no_tokenizer,
  evil(False),
  evil(True),
  break_plain_pickle,
  break_bin('middle'),
  break_bin('old'),
  break_bin('start'),
]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, tokenizer):
  """A folder with nothing wrong; its vocabulary fits its embedding."""
  path = tmp_path_factory.mktemp('whole')
  config = transformers.BertConfig(
    vocab_size=tokenizer.vocab_size,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
  )
  model = transformers.BertForPreTraining(config)
  model.save_pretrained(path)
  tokenizer.save(path)
  return path


@pytest.mark.parametrize('spoil', MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(whole, tmp_path, spoil):
  source = tmp_path / 'source'
  source.mkdir()
  for path in whole.iterdir():
    (source / path.name).write_bytes(path.read_bytes())
  wanted = spoil(source)
  before = contents(tmp_path)
  with pytest.raises(UserError) as e:
    convert.convert(source, tmp_path / 'run', tmp_path / 'hf')
  assert wanted in str(e.value) and len(str(e.value)) < 400
  assert '\n' not in str(e.value) and 'source' in str(e.value)
  assert contents(tmp_path) == before


def test_command_line(whole, tmp_path):
  (tmp_path / 'there').mkdir()
  (tmp_path / 'there/thesis.tex').write_text('years of work')
  argv = [sys.executable, '-m', 'ctxlm.cli', 'convert', f'--from={whole}']
  for target in ('--to', '--to-hf'):
    done = subprocess.run(
      [*argv, f'{target}={tmp_path / "there"}'], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert 'is there already' in done.stderr
  assert len(contents(tmp_path)) == 2
