"""Files of the hub's early years load as those of today."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from ctxlm.errors import UserError
from ctxlm.families import folder
from ctxlm.trees import flatten
from tests.families import reference


def weights_of(path):
  return safetensors.numpy.load_file(path / 'model.safetensors')


def write(path, weights):
  safetensors.numpy.save_file(weights, path / 'model.safetensors')


def in_parts(path, weights):
  """As the hub has large models from before safetensors."""
  (path / 'model.safetensors').unlink()
  names, table = sorted(weights), {}
  for i in range(2):
    part = {n: torch.tensor(weights[n]) for n in names[i::2]}
    file = f'pytorch_model-0000{i + 1}-of-00002.bin'
    torch.save(part, path / file)
    table |= dict.fromkeys(part, file)
  index = path / 'pytorch_model.bin.index.json'
  index.write_text(json.dumps({'metadata': {}, 'weight_map': table}))


def old_norms(weights):
  def rename(name):
    for new, old in (('.weight', '.gamma'), ('.bias', '.beta')):
      if 'LayerNorm' in name and name.endswith(new):
        return name.removesuffix(new) + old
    return name

  found = {rename(name): x for name, x in weights.items()}
  assert any(name.endswith('LayerNorm.beta') for name in found)
  return found


def without_prefix(prefix):
  def change(weights):
    return {name.removeprefix(prefix): x for name, x in weights.items()}

  return change


def with_buffers(weights):
  """What torch modules of the time registered, and no decoder's bias."""
  found = {
    k: v for k, v in weights.items() if k != 'cls.predictions.decoder.bias'
  }
  assert 'cls.predictions.bias' in found
  found['bert.embeddings.position_ids'] = np.arange(9)[None]
  return found


def causal_masks(weights):
  found = without_prefix('transformer.')(weights)
  found['h.0.attn.bias'] = np.ones((1, 1, 4, 4), np.float32)
  found['h.0.attn.masked_bias'] = np.full((), -1e4, np.float32)
  return found


def frequencies(weights):
  name = 'model.layers.0.self_attn.rotary_emb.inv_freq'
  return weights | {name: np.ones(4, np.float32)}


CHANGES = [
  ('bert', old_norms),
  ('bert', with_buffers),
  ('bert', without_prefix('bert.')),
  ('roberta', old_norms),
  ('roberta', without_prefix('roberta.')),
  ('gpt2', causal_masks),
  ('llama', frequencies),
  ('llama', without_prefix('model.')),
  ('bart', without_prefix('model.')),
]


@pytest.mark.parametrize('parts', [False, True])
@pytest.mark.parametrize('name, change', CHANGES)
def test_old_names_give_the_same_parameters(name, change, parts, tmp_path):
  reference.draw(name, 0).model.save_pretrained(tmp_path)
  wanted = flatten(folder.open_folder(tmp_path).read_all())
  weights = change(weights_of(tmp_path))
  (in_parts if parts else write)(tmp_path, weights)
  opened = folder.open_folder(tmp_path)
  found = flatten(opened.read_all())
  assert found.keys() == wanted.keys()
  for path, x in wanted.items():
    assert np.asarray(found[path]).tobytes() == np.asarray(x).tobytes(), path
  assert flatten(opened.shapes).keys() == wanted.keys()
  assert all(x.dtype == jax.numpy.float32 for x in found.values())


def test_a_class_tells_the_family_where_no_model_type_does(tmp_path):
  reference.draw('bert', 0).model.save_pretrained(tmp_path)
  path = tmp_path / 'config.json'
  config = json.loads(path.read_text())
  assert config.pop('model_type') and config['architectures']
  path.write_text(json.dumps(config))
  assert folder.open_folder(tmp_path).block['type_vocab_size']
  path.write_text(json.dumps(config | {'architectures': None}))
  with pytest.raises(UserError, match='is of no family here'):
    folder.open_folder(tmp_path)


@pytest.mark.parametrize('name', ['albert', 'mt5', 'xlm-roberta', 'bertt'])
def test_no_family_is_suggested_that_computes_something_else(name):
  with pytest.raises(UserError) as e:
    folder.find(name)
  assert str(e.value) == (
    f'config.json: model_type {name!r} is of no family here; there are bart, '
    'bert, gpt2, llama, mistral, roberta, t5'
  )


def test_eight_bits_are_one_line(tmp_path):
  reference.draw('llama', 0).model.save_pretrained(tmp_path)
  weights = {k: torch.tensor(v) for k, v in weights_of(tmp_path).items()}
  name = 'model.layers.0.mlp.up_proj.weight'
  weights[name] = weights[name].to(torch.float8_e4m3fn)
  safetensors.torch.save_file(weights, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match=f'{name} is of type F8_E4M3') as e:
    folder.open_folder(tmp_path)
  assert '\n' not in str(e.value)
  (tmp_path / 'model.safetensors').unlink()
  torch.save(weights, tmp_path / 'pytorch_model.bin')
  with pytest.raises(UserError, match='a tensor of 8 bits'):
    folder.open_folder(tmp_path)
