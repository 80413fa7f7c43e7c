"""Every key of the reference's configurations is read, harmless or refused."""

import json

import numpy as np
import pytest
import torch
import transformers as tr

import ctxlm
from ctxlm.errors import UserError
from ctxlm.families import export, folder
from tests.families import reference

FAMILIES = {family.model_type: family for family in folder.FAMILIES}


def theirs(name):
  """Returns the keys of the installed reference's class, with its defaults."""
  return tr.CONFIG_MAPPING[name]().to_dict()


@pytest.mark.parametrize('name', FAMILIES)
def test_every_key_of_the_reference_is_known(name):
  unknown = theirs(name).keys() - FAMILIES[name].keys()
  assert not unknown, (
    f'transformers {tr.__version__} has new keys of {name}: read them, or list '
    f'them as harmless or refused in its table: {sorted(unknown)}'
  )


@pytest.mark.parametrize('name', FAMILIES)
def test_a_missing_key_is_what_the_reference_takes_it_for(name):
  family, whole = FAMILIES[name], theirs(name)
  wanted = family.options(whole)
  must = {key for key, default in family.fields.values() if default is ...}
  for key in whole.keys() - must:
    found = family.options({k: v for k, v in whole.items() if k != key})
    assert complete(found) == complete(wanted), key


def complete(block):
  return folder.family_lib.complete(block)


@pytest.mark.parametrize('name', FAMILIES)
def test_other_values_are_refused(name):
  family, whole = FAMILIES[name], theirs(name)
  for key, wanted in family.needs.items():
    other = not wanted if isinstance(wanted, bool) else f'{wanted}1'
    with pytest.raises(UserError, match=f'config.json: {key}='):
      family.options(whole | {key: other})
  with pytest.raises(UserError, match='quantization_config='):
    family.options(whole | {'quantization_config': {'quant_method': 'fp8'}})


@pytest.mark.parametrize(
  'name, keys, wanted',
  [
    (
      'llama',
      {'rope_scaling': {'rope_type': 'linear', 'factor': 2.0}},
      "rope_type 'linear' is not supported",
    ),
    ('llama', {'partial_rotary_factor': 0.5}, 'partial_rotary_factor=0.5'),
    ('mistral', {'layer_types': ['full_attention']}, 'layer_types'),
    ('t5', {'is_encoder_decoder': False}, 'the class has a decoder'),
  ],
)
def test_what_computes_something_else_is_named(name, keys, wanted):
  with pytest.raises(UserError, match=wanted):
    FAMILIES[name].options(theirs(name) | keys)


def ours_and_theirs(drawn, path, **keys):
  """Returns both logits of a folder whose config.json has other keys."""
  drawn.model.save_pretrained(path)
  config = json.loads((path / 'config.json').read_text()) | keys
  (path / 'config.json').write_text(json.dumps(config))
  kind = type(drawn.model)
  tokens = drawn.tokens(0, (2, 9))
  model, params, _ = ctxlm.load(path)
  inputs = [torch.tensor(tokens)]
  inputs += [torch.tensor(tokens[:, :5])] if drawn.heads == 'seq2seq' else []
  names = ('input_ids', 'decoder_input_ids')
  with torch.no_grad():
    want = kind.from_pretrained(path, attn_implementation='eager')(
      **dict(zip(names, inputs, strict=False))
    ).logits

  def forward(model):
    return model.logits(model(*(x.numpy() for x in inputs)))

  return model.apply({'params': params}, method=forward), want.numpy()


def test_older_rope_key_wins(tmp_path):
  drawn = reference.draw('llama', 1)
  old = {'rope_type': 'default', 'rope_theta': 31.0}
  ours, want = ours_and_theirs(drawn, tmp_path, rope_scaling=old)
  np.testing.assert_allclose(ours, want, atol=1e-4)


def test_activation_of_t5_is_the_key_that_wins(tmp_path):
  drawn = reference.draw('t5', 1)  # gated-gelu
  ours, want = ours_and_theirs(drawn, tmp_path, dense_act_fn='silu')
  np.testing.assert_allclose(ours, want, atol=1e-4)


def test_dropout_of_gpt2s_embeddings_is_its_own(tmp_path, tokenizer):
  drawn = reference.draw('gpt2', 0)
  drawn.model.config.embd_pdrop = 0.25
  drawn.model.save_pretrained(tmp_path / 'theirs')
  opened = folder.open_folder(tmp_path / 'theirs')
  assert opened.block['embedding_dropout'] == 0.25
  assert opened.block['dropout'] == 0.1
  params = opened.read_all()
  (tmp_path / 'ours').mkdir()
  export.write(tmp_path / 'ours', opened.block, params, tokenizer)
  config = json.loads((tmp_path / 'ours/config.json').read_text())
  assert (config['embd_pdrop'], config['resid_pdrop']) == (0.25, 0.1)


def test_mistral_without_a_window_stays_mistral(tmp_path, tokenizer):
  drawn = reference.draw('mistral', 0)
  drawn.model.config.sliding_window = None
  ours, want = ours_and_theirs(drawn, tmp_path / 'theirs')
  np.testing.assert_allclose(ours, want, atol=1e-4)
  opened = folder.open_folder(tmp_path / 'theirs')
  original = json.loads((tmp_path / 'theirs/config.json').read_text())
  (tmp_path / 'ours').mkdir()
  export.write(
    tmp_path / 'ours', opened.block, opened.read_all(), tokenizer, original
  )
  config = json.loads((tmp_path / 'ours/config.json').read_text())
  assert config['model_type'] == 'mistral' and config['sliding_window'] is None
  assert config['architectures'] == ['MistralForCausalLM']
