"""Folders of strangers: they run no code, and lead nowhere outside."""

import json
import os
import pickle
import shutil
import zipfile

import pytest

import ctxlm
from ctxlm import config as config_lib
from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.families import sentence, small_files
from ctxlm.families.formats import pickles, tensors
from ctxlm.training import run_folder
from tests import tiny
from tests.families import reference

GPT2 = {
  **{'model_type': 'gpt2', 'vocab_size': 40, 'n_positions': 16},
  **{'n_embd': 8, 'n_layer': 1, 'n_head': 2},
}
LLAMA = {
  **{'model_type': 'llama', 'vocab_size': 40, 'hidden_size': 8},
  **{'num_hidden_layers': 1, 'num_attention_heads': 2},
  'intermediate_size': 12,
}
CONFIGS = {  # a config.json, keys of it that can't be, and the line
  'a text': (GPT2, {'n_layer': 'x'}, "n_layer='x' must be a whole number"),
  'a list': (GPT2, {'n_embd': [8]}, r'n_embd=\[8\] must be a whole number'),
  'a fraction': (GPT2, {'n_head': 2.5}, 'n_head=2.5 must be a whole number'),
  'a truth': (GPT2, {'n_layer': True}, 'n_layer=True must be a whole number'),
  'less than 0': (GPT2, {'n_inner': -5}, 'n_inner=-5 must be 0 or more, or -1'),
  'layers': (GPT2, {'n_layer': 10**9}, 'n_layer=1000000000 must be from 0 to'),
  'past int32': (GPT2, {'n_embd': 2**63}, 'must be 1 or more and 2147483647'),
  'no number': (GPT2, {'attn_pdrop': float('nan')}, 'attn_pdrop=nan must be'),
  'no tokens': (GPT2, {'vocab_size': 0}, 'vocab_size=0 must be 1 or more'),
  'deep': (
    GPT2,
    {'n_embd': eval('[' * 90 + ']' * 90)},
    'n_embd=.{,60} must be a whole number',
  ),
  'activation': (
    GPT2,
    {'activation_function': ['gelu']},
    r"activation_function=\['gelu'\] must be a text",
  ),
  'architectures': (GPT2, {'architectures': 1}, 'architectures=1 must be a li'),
  'model_type': (GPT2, {'model_type': ['gpt2']}, r"model_type=\['gpt2'\] must"),
  'ids': (GPT2, {'eos_token_id': {'a': 1}}, 'eos_token_id=.* must be a whole'),
  'rope': (LLAMA, {'rope_scaling': 'x'}, "rope_scaling='x' must be a block"),
  'theta': (
    LLAMA,
    {'rope_parameters': {'rope_theta': '1'}},
    "rope_theta='1' must be a number",
  ),
  'heads': (LLAMA, {'num_attention_heads': 3}, 'hidden_size=8 is not divis'),
  'window': (
    LLAMA | {'model_type': 'mistral', 'num_key_value_heads': 1},
    {'sliding_window': [1]},
    r'sliding_window=\[1\] must be a whole number',
  ),
}


def test_config_json_is_of_the_right_kinds(tmp_path):
  for name, (config, keys, wanted) in CONFIGS.items():
    (tmp_path / 'config.json').write_text(json.dumps(config | keys))
    with pytest.raises(UserError, match=wanted) as e:
      ctxlm.load(tmp_path)
    assert str(tmp_path) in str(e.value), name
    assert '\n' not in str(e.value) and len(str(e.value)) < 300, name


BLOCKS = {  # keys of a run folder's config.json, and the line
  'tasks': ({'tasks': 'x'}, 'config.tasks must be a block of keys'),
  'evaluators': ({'evaluators': 7}, 'config.evaluators must be a block of key'),
  'model': ({'model': None}, 'config.model must be a block with a name'),
  'checkpoint': ({'checkpoint': []}, 'config.checkpoint must be a block of ke'),
  'a dotted key': ({'a.b': {'c.d': 1}}, 'it is no config: .*dots'),
  'steps': ({'num_steps': 10**30}, 'config.num_steps=.* must be'),
}


@pytest.mark.parametrize('name', BLOCKS)
def test_configs_of_runs_are_of_the_right_kinds(text, name):
  keys, wanted = BLOCKS[name]
  content = json.loads(config_lib.to_json(tiny.get_config()))
  with pytest.raises(UserError, match=wanted):
    config_lib.from_json(json.dumps(content | keys))


SENTENCES = {  # a file of the folder, its content, and the line
  'max_seq_length': (
    'sentence_bert_config.json',
    {'max_seq_length': 'x'},
    "max_seq_length='x' must be a whole number",
  ),
  'prompts': (
    'config_sentence_transformers.json',
    {'default_prompt_name': 'a', 'prompts': {'a': 1}},
    'prompts=.* must be a block of keys: each a text',
  ),
  'name of a prompt': (
    'config_sentence_transformers.json',
    {'default_prompt_name': ['a'], 'prompts': {}},
    r"default_prompt_name=\['a'\] must be a text",
  ),
  'pooling': ('1/config.json', {'pooling_mode': {'a': 1}}, 'must be a text'),
  'two poolings': (
    '1/config.json',
    {'pooling_mode_cls_token': True, 'pooling_mode_mean_tokens': True},
    r"pooling \['cls', 'mean'\] is not supported",
  ),
}


@pytest.mark.parametrize('name', SENTENCES)
def test_settings_of_sentences_are_of_the_right_kinds(tmp_path, name):
  modules = [
    {'type': 'x.Transformer', 'path': ''},
    {'type': 'x.Pooling', 'path': '1'},
  ]
  (tmp_path / '1').mkdir()
  (tmp_path / '1' / 'config.json').write_text('{}')
  (tmp_path / 'modules.json').write_text(json.dumps(modules))
  assert sentence.read(tmp_path).pooling == 'mean'
  path, content, wanted = SENTENCES[name]
  (tmp_path / path).write_text(json.dumps(content))
  with pytest.raises(UserError, match=wanted):
    sentence.read(tmp_path)


def header(content, size=None):
  """Returns a safetensors file of 8 bytes of tensors with this header."""
  text = content if isinstance(content, bytes) else json.dumps(content).encode()
  size = len(text) if size is None else size
  return size.to_bytes(8, 'little') + text + bytes(8)


def entry(dtype='F32', shape=(2,), ends=(0, 8)):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': ends}


HEADERS = {
  'a length of 2^40': header({}, 2**40),
  'a length of 2^63': header({}, 2**63),
  'no JSON': header(b'{"a": '),
  'deep': header(b'[' * 10**5),
  'beyond the end': header({'a': entry(shape=(9,), ends=(0, 36))}),
  'beyond 2^63': header({'a': entry(shape=(2**62, 4), ends=(0, 8))}),
  'overlapping': header({'a': entry(), 'b': entry(ends=(4, 8), shape=(1,))}),
  'backwards': header({'a': entry(ends=(8, 0))}),
  'another size': header({'a': entry(dtype='F64')}),
  'an unknown type': header({'a': entry(dtype='F3')}),
  'of 8 bits': header({'a': entry(dtype='F8_E4M3', shape=(8,))}),
  'a line in a name': header({'a\nb': entry(dtype='U64', shape=(1,))}),
}


@pytest.mark.parametrize('name', HEADERS)
def test_headers_of_tensors_are_checked(tmp_path, name):
  path = tmp_path / 'model.safetensors'
  path.write_bytes(HEADERS[name])
  wanted = 'F8_E4M3, which is not' if '8 bits' in name else 'model.safetensors'
  with pytest.raises(UserError, match=wanted) as e:
    tensors.open_folder(tmp_path)
  assert str(e.value).isprintable() and len(str(e.value)) < 400


INDICES = {
  'a list': [],
  'no map': {},
  'a map of numbers': {'weight_map': {'a': 1}},
  'a NUL': {'weight_map': {'a': 'a\0b.safetensors'}},
  'a long name': {'weight_map': {'a': 'a' * 5000}},
  'a folder': {'weight_map': {'a': ''}},
}


@pytest.mark.parametrize('name', INDICES)
def test_indices_of_shards_are_checked(tmp_path, name):
  path = tmp_path / 'model.safetensors.index.json'
  path.write_text(json.dumps(INDICES[name]))
  with pytest.raises(UserError) as e:
    tensors.open_folder(tmp_path)
  assert str(e.value).isprintable()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('their') / 'model'
  reference.draw('gpt2', 0).model.save_pretrained(path)
  return path


@pytest.fixture
def module(tmp_path, monkeypatch):
  """A module that leaves a mark where it is run; (its name, the mark)."""
  mark = tmp_path / 'mark'
  (tmp_path / 'strangers_lab.py').write_text(
    f'open({str(mark)!r}, "w").close()\n'
    'from ctxlm.models.transformer import Model\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delenv(plugins.ALLOW, raising=False)
  return 'strangers_lab', mark


def test_a_run_folder_runs_no_code(runs, tmp_path, module, monkeypatch):
  name, mark = module
  copy = tmp_path / 'run'
  shutil.copytree(runs['causal'].workdir, copy)
  config = json.loads((copy / 'config.json').read_text())
  for path in (
    ('model',),
    ('tasks', 'causal', 'objective'),
    ('evaluators', 'x'),
  ):
    changed = json.loads(json.dumps(config))
    block = changed
    for key in path:
      block = block.setdefault(key, {})
    block['name'] = f'{name}.x'
    (copy / 'config.json').write_text(json.dumps(changed))
    with pytest.raises(UserError, match=f'--allow_code={name}.x'):
      ctxlm.load(copy)
    with pytest.raises(UserError, match=f'names code that is not ours, {name}'):
      run_folder.load(copy)
  config['model']['name'] = name + '.'
  (copy / 'config.json').write_text(json.dumps(config))
  with pytest.raises(UserError, match='is no name of a module'):
    ctxlm.load(copy, allow_code=(name,))
  assert not mark.exists()
  plugins.refuse_code({'name': 'mylab.cloze'}, 'config.json', ('mylab',))
  plugins.refuse_code({'name': 'ctxlm.experiments.mqar'}, 'config.json')
  for name in ('ctxlm.__main__', 'ctxlm.experiments.benchmarks.train_step'):
    with pytest.raises(UserError, match='code that is not ours'):
      plugins.refuse_code({'name': name}, 'config.json')
  monkeypatch.setenv(plugins.ALLOW, 'other,mylab.cloze')
  plugins.refuse_code({'name': 'mylab.cloze'}, 'config.json')
  with pytest.raises(UserError, match='mylab2'):
    plugins.refuse_code([{'name': 'mylab2.cloze'}], 'config.json')


@pytest.mark.parametrize('path', ['/tmp', '../out', 'a/../../out'])
def test_modules_lie_in_their_folder(tmp_path, path):
  modules = [
    {'type': 'x.Transformer', 'path': path},
    {'type': 'x.Pooling', 'path': '1_Pooling'},
  ]
  (tmp_path / 'modules.json').write_text(json.dumps(modules))
  with pytest.raises(UserError, match='leads out of its folder'):
    sentence.read(tmp_path)
  own = {'pooling': 'cls', 'normalise': True, 'max_length': 0, 'prompt': ''}
  assert sentence.from_json(own | {'path': 'a/b'}, 'model.json').path == 'a/b'
  with pytest.raises(UserError, match='is damaged'):
    sentence.from_json(own | {'path': path}, 'model.json')


def test_shards_lie_in_their_folder(folder, tmp_path):
  index = {'weight_map': {'a': '../model.safetensors'}}
  (tmp_path / 'in').mkdir()
  shutil.copy(folder / 'model.safetensors', tmp_path)
  path = tmp_path / 'in' / 'model.safetensors.index.json'
  path.write_text(json.dumps(index))
  with pytest.raises(UserError, match='leads out of its folder'):
    tensors.open_folder(tmp_path / 'in')


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors'])
def test_links_out_and_pipes_are_not_read(folder, tmp_path, name):
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  (copy / name).unlink()
  (copy / name).symlink_to(folder / name)
  with pytest.raises(UserError, match='leads out of its folder'):
    ctxlm.load(copy)
  (copy / name).unlink()
  (copy / name).symlink_to(name)  # a loop
  with pytest.raises(UserError):
    ctxlm.load(copy)
  (copy / name).unlink()
  os.mkfifo(copy / name)  # whose reader would wait for ever
  with pytest.raises(UserError):
    ctxlm.load(copy)
  (copy / 'secret.json').symlink_to('/etc/passwd')
  with pytest.raises(UserError, match='leads out of its folder'):
    small_files.copy_small(copy, tmp_path / 'target')


def test_links_of_a_checkpoint_are_not_followed(runs, tmp_path):
  whole, copy = runs['causal'].workdir, tmp_path / 'run'
  shutil.copytree(whole, copy)
  for path in (whole / 'checkpoints').rglob('*'):
    if path.name in ('_sharding', '_METADATA', 'd'):
      link = copy / path.relative_to(whole)
      shutil.rmtree(link) if link.is_dir() else link.unlink()
      link.symlink_to(path)
      with pytest.raises(UserError, match='leads out of its folder'):
        run_folder.load(copy)
      link.unlink()
      shutil.copytree(path, link) if path.is_dir() else shutil.copy(path, link)
  assert run_folder.load(copy).step == 4


@pytest.mark.parametrize('name', tensors.SINGLE)
def test_a_pointer_to_weights_is_said(folder, tmp_path, name):
  shutil.copy(folder / 'config.json', tmp_path)
  (tmp_path / name).write_text('version https://git-lfs.github.com/spec/v1\n')
  with pytest.raises(UserError, match='git lfs pull'):
    ctxlm.load(tmp_path)


def test_a_byte_order_mark_is_none(folder, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  path = copy / 'config.json'
  path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
  assert ctxlm.load(copy).model.num_layers


def test_a_snapshot_of_the_hubs_cache_is_read(folder, tmp_path):
  model = tmp_path / 'models--someone--gpt2'
  snapshot, blobs = model / 'snapshots' / 'abc', model / 'blobs'
  snapshot.mkdir(parents=True)
  blobs.mkdir()
  for i, path in enumerate(folder.iterdir()):
    shutil.copy(path, blobs / str(i))
    (snapshot / path.name).symlink_to(f'../../blobs/{i}')
  assert ctxlm.load(snapshot).model.num_layers
  small_files.copy_small(snapshot, tmp_path / 'small')
  assert not (tmp_path / 'small' / 'config.json').is_symlink()


STORAGE = b'ctorch\nFloatStorage\n'
DOUBLED = b'q\x00h\x00\x86' * 22
PICKLES = {
  # State for a dtype, whose item size it would change.
  'a state for what is named': (
    b'\x80\x02' + STORAGE + b'}X\x01\x00\x00\x00aK\x01sb.', 'damaged'
  ),
  'defaults of a function': (
    b'\x80\x02ctorch._utils\n_rebuild_parameter\n'
    b'N}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.', 'damaged'
  ),
  'a memo of billions': (b'\x80\x02Nr\xff\xff\xff\x7f.', 'holds no dictionary'),
  'tuples without end': (
    b'\x80\x02)' + b'\x85' * 10**6 + b'.', 'holds no dictionary'
  ),
  # To hash, to compare or to show it takes twice as long for each.
  'tuples, each twice the last': (
    b'\x80\x02})' + DOUBLED + b'Ns.', 'key that is no text'
  ),
  'such in a mapping': (
    b'\x80\x02}()' + DOUBLED + b'Nu.', 'key that is no text'
  ),
  'such in pairs': (
    b'\x80\x02ccollections\nOrderedDict\n])' + DOUBLED
    + b'N\x86a\x85R.', 'key that is no text'
  ),
  'such as a shape': (
    b'\x80\x02ctorch._utils\n_rebuild_tensor\n'
    b'(U\x07storagectorch\nFloatStorage\nK\x00tQK\x00)' + DOUBLED
    + b'N\x87K\x01\x87tR.', 'damaged'
  ),
  'such as a storage': (
    b'\x80\x02(U\x07storagectorch\nFloatStorage\n)' + DOUBLED + b'tQ.',
    'storage of an unknown kind',
  ),
  'an instance': (b'\x80\x02(ios\nsystem\n.', 'INST, which no file'),
  'a long count': (b'\x80\x04\x8e' + b'\xff' * 8 + b'.', 'damaged'),
  'no end': (b'\x80\x02(((', 'damaged'),
}  # fmt: skip


@pytest.mark.parametrize('name', PICKLES)
def test_pickles_change_nothing(tmp_path, name):
  data, wanted = PICKLES[name]
  path = tmp_path / 'model.bin'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('model/data.pkl', data)
  with pytest.raises(UserError, match=wanted) as e:
    pickles.read(path)
  assert '\n' not in str(e.value)
  assert pickles.STORAGES['FloatStorage'].itemsize == 4
  assert pickles._parameter.__defaults__ is None


def test_compressed_archives_are_not_unpacked(tmp_path):
  path = tmp_path / 'model.bin'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('model/data.pkl', pickle.dumps({'a': 'b' * 10**6}))
  with pytest.raises(UserError, match='compressed'):
    pickles.read(path)
