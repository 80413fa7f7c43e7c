"""LoRA in PEFT's format, in and out, against peft on torch."""

import dataclasses
import json

import numpy as np
import peft
import pytest
import safetensors.numpy
import torch
import transformers as tr

from ctxlm import trees
from ctxlm.errors import UserError
from ctxlm.inference import conversion, loading
from ctxlm.models import adapters
from tests.families import reference

IDS = [[5, 6, 7, 8, 9], [9, 3, 4, 5, 7]]


def adapted(folder, model, **options):
  """Saves a model and LoRA around it; returns the torch model with it."""
  model.save_pretrained(folder / 'base')
  config = peft.LoraConfig(**{'r': 3, 'lora_alpha': 7} | options)
  both = peft.get_peft_model(model, config)
  torch.manual_seed(0)
  with torch.no_grad():
    for name, x in both.named_parameters():
      if 'lora_' in name or 'modules_to_save' in name:
        x.normal_(std=0.3)
  both.save_pretrained(folder / 'lora')
  return both.eval()


def theirs(model):
  ids = torch.tensor(IDS)
  more = {'decoder_input_ids': ids} if model.config.is_encoder_decoder else {}
  with torch.no_grad():
    return model(input_ids=ids, **more).logits.numpy()


def ours(loaded):
  ids, heads = np.array(IDS), loaded.params.get('heads', {})

  def run(model):
    if model.encoder_decoder:
      return model.logits(model(ids, ids))
    if not heads:
      return model.logits(model(ids))
    return model(ids)

  hidden = loaded.model.apply({'params': loaded.params}, method=run)
  if not heads:
    return hidden
  dense, out = heads['pooler']['dense'], heads['classification']['dense']
  pooled = np.tanh(hidden[:, 0] @ dense['kernel'] + dense['bias'])
  return pooled @ out['kernel'] + out['bias']


def redrawn(loaded):
  """Returns the same with other LoRA, in which no A is another's."""
  rng = np.random.default_rng(0)

  def draw(name, x):
    new = '/lora/' in name
    return rng.normal(size=x.shape).astype('float32') * 0.3 if new else x

  params = trees.map_with_name(draw, loaded.params)
  return dataclasses.replace(loaded, params=params)


def classifier():
  torch.manual_seed(0)
  config = tr.BertConfig(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    num_labels=3,
  )
  return tr.BertForSequenceClassification(config)


def drawn(name):
  return classifier() if name == 'bert' else reference.draw(name, 0).model


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    pytest.param(
      'gpt2',
      {'target_modules': ['c_attn', 'mlp.c_proj']},
      marks=pytest.mark.slow,
    ),
    pytest.param(
      't5',
      {'target_modules': ['q', 'o', 'wo'], 'use_rslora': True},
      marks=pytest.mark.slow,
    ),
    ('bert', {'target_modules': ['query', 'dense'], 'task_type': 'SEQ_CLS'}),
  ],
)
def test_logits_equal_those_of_peft(name, options, tmp_path):
  if name == 'bert':  # all but the pooler, which is a head of ours
    options |= {'exclude_modules': '.*pooler.*'}
  torch_model = drawn(name)
  model = adapted(tmp_path, torch_model, **options)
  want, base = theirs(model), tmp_path / 'base'
  loaded = loading.load(tmp_path / 'lora', base=str(base))
  np.testing.assert_allclose(ours(loaded), want, atol=1e-4)
  alone = conversion.merged(loaded)
  assert not isinstance(alone.model, adapters.Adapted)
  np.testing.assert_allclose(ours(alone), ours(loaded), atol=1e-5)
  # Out again; redrawn, GPT-2's query, key and value have ranks of their own.
  for i, one in enumerate((loaded, redrawn(loaded))):
    folder = tmp_path / f'out{i}'
    folder.mkdir()
    assert conversion.write_peft(one, folder) == []
    fresh = type(torch_model).from_pretrained(base)
    again = peft.PeftModel.from_pretrained(fresh, folder).eval()
    np.testing.assert_allclose(theirs(again), ours(one), atol=1e-4)
    if i == 0:
      files = (
        safetensors.numpy.load_file(at / 'adapter_model.safetensors')
        for at in (folder, tmp_path / 'lora')
      )
      got, had = files
      assert got.keys() >= had.keys()
      for key, x in had.items():
        np.testing.assert_array_equal(got[key], x, key)


@pytest.fixture
def small(tmp_path):
  """A folder of GPT-2 and of LoRA around it."""
  adapted(tmp_path, drawn('gpt2'), target_modules=['c_attn'])
  return tmp_path


def test_layers_that_are_scanned_have_the_same(small):
  base = str(small / 'base')
  plain = loading.load(small / 'lora', base=base)
  scanned = loading.load(small / 'lora', base=base, scan_layers=True)
  paths = trees.flatten(scanned.params)
  assert any('layers/attention/query/lora/a' in path for path in paths)
  np.testing.assert_allclose(ours(scanned), ours(plain), atol=1e-5)


@pytest.mark.parametrize(
  ('keys', 'wanted'),
  [
    ({'peft_type': 'IA3'}, "peft_type='IA3' is not supported"),
    ({'use_dora': True}, 'use_dora=True is not supported'),
    ({'rank_pattern': {'c': 2}}, 'rank_pattern='),
    ({'bias': 'all'}, "bias='all' is not supported"),
    ({'init_lora_weights': 'pissa'}, "init_lora_weights='pissa'"),
    ({'r': 0}, 'r=0 must be 1 or more'),
    ({'r': 5}, 'r=5, and its tensors have {3}'),
    ({'lora_alpha': 'x'}, "lora_alpha='x' must be a number"),
    ({'lora_alpha': 0}, 'lora_alpha=0 must be more than 0'),
    ({'lora_dropout': 2}, 'lora_dropout=2 must be 0 or more'),
  ],
)
def test_another_kind_is_one_line(small, keys, wanted):
  path = small / 'lora' / 'adapter_config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | keys))
  with pytest.raises(UserError) as e:
    loading.load(small / 'lora', base=str(small / 'base'))
  assert wanted in str(e.value)
  assert '\n' not in str(e.value)


def test_the_model_is_found_by_a_name_alone(small, monkeypatch):
  """A path in a stranger's file is not followed."""
  path = small / 'lora' / 'adapter_config.json'
  content = json.loads(path.read_text())
  for name in (None, '', str(small / 'base'), '../base', 'base'):
    path.write_text(json.dumps(content | {'base_model_name_or_path': name}))
    monkeypatch.chdir(small)
    with pytest.raises(UserError, match='convert --base=DIR'):
      loading.load(small / 'lora')
  monkeypatch.setenv('HF_HUB_CACHE', str(small / 'hub'))
  snapshots = small / 'hub' / 'models--base' / 'snapshots'
  snapshots.mkdir(parents=True)
  (small / 'base').rename(snapshots / '1')
  assert loading.load(small / 'lora').adapt['rank'] == 3


@pytest.mark.parametrize(
  ('change', 'wanted'),
  [
    (lambda a: a.popitem(), 'has lora_B alone'),
    (lambda a: a.clear(), 'no tensor is one of LoRA'),
    (
      lambda a: a.update({k: x.T[:0].T for k, x in a.items() if '_B' in k}),
      'and no empty one',
    ),
    (lambda a: a.update({'h.0.x': np.ones(3, 'f')}), 'h.0.x, which has no'),
    (
      lambda a: a.update({k: x[:, :-1] for k, x in a.items() if '_A' in k}),
      'the model asks for [3, ',
    ),
    (
      lambda a: a.update(
        {k.replace('attn.c_attn', 'of'): x for k, x in a.items()}
      ),
      'LoRA is around h.0.of, which is no linear map',
    ),
    (
      lambda a: a.update({'wte.lora_embedding_A': a.popitem()[1]}),
      'LoRA of this kind is not supported',
    ),
    (
      lambda a: a.update({k: x * np.nan for k, x in a.items()}),
      'holds NaN or infinity',
    ),
  ],
)
def test_tensors_that_do_not_fit_are_one_line(small, change, wanted):
  path = small / 'lora' / 'adapter_model.safetensors'
  arrays = dict(sorted(safetensors.numpy.load_file(path).items(), reverse=True))
  change(arrays)
  safetensors.numpy.save_file(arrays, path)
  with pytest.raises(UserError) as e:
    loading.load(small / 'lora', base=str(small / 'base'))
  assert wanted in str(e.value)
  assert '\n' not in str(e.value)


def test_files_lead_nowhere(small):
  path = small / 'lora' / 'adapter_model.safetensors'
  path.rename(small / 'away.safetensors')
  path.symlink_to(small / 'away.safetensors')
  with pytest.raises(UserError, match='outside|leads'):
    loading.load(small / 'lora', base=str(small / 'base'))


def test_a_model_has_no_base(small, tmp_path):
  (tmp_path / 'x.arpa').touch()
  for folder in (small / 'base', tmp_path / 'x.arpa'):
    with pytest.raises(
      UserError, match='no adapter of PEFT, so it has no base'
    ):
      loading.load(folder, base=str(small / 'base'))


def test_what_is_no_lora_is_not_written(small, tmp_path):
  loaded = loading.load(small / 'base')
  with pytest.raises(UserError, match="'no adapter' is not what PEFT"):
    conversion.write_peft(loaded, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('told', [True, False])
@pytest.mark.parametrize(
  ('name', 'part'), [('gpt2', 'wte'), ('llama', 'embed_tokens')]
)
def test_trained_embeddings_that_the_head_is_tied_to(
  name, part, told, tmp_path
):
  torch_model = drawn(name)
  torch_model.config.tie_word_embeddings = True
  torch_model.tie_weights()
  target = 'c_attn' if name == 'gpt2' else 'q_proj'
  model = adapted(
    tmp_path,
    torch_model,
    target_modules=[target],
    modules_to_save=[part],
    task_type='CAUSAL_LM',
    ensure_weight_tying=told,
  )
  lora, base = tmp_path / 'lora', str(tmp_path / 'base')
  # PEFT ties what is called embed_tokens; else its head has the old ones.
  if name == 'gpt2' or not told:
    with pytest.raises(UserError, match='merge it with PEFT'):
      loading.load(lora, base=base)
    return
  loaded = loading.load(lora, base=base)
  np.testing.assert_allclose(ours(loaded), theirs(model), atol=1e-4)
  adapt = loaded.adapt | {'trained': 'token_embed'}
  with pytest.raises(UserError, match='write the whole model'):
    conversion.write_peft(dataclasses.replace(loaded, adapt=adapt), tmp_path)
