"""Folders of strangers: they run no code, and lead nowhere outside."""

import json
import os
import pickle
import shutil
import zipfile

import pytest

import ctxlm
from ctxlm import plugins
from ctxlm.errors import UserError
from ctxlm.families import sentence, small_files
from ctxlm.families.formats import pickles, tensors
from ctxlm.training import run_folder
from tests.families import reference


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
PICKLES = {
  # State for a dtype, whose item size it would change.
  'a state for what is named': (
    b'\x80\x02' + STORAGE + b'}X\x01\x00\x00\x00aK\x01sb.', 'damaged'
  ),
  'defaults of a function': (
    b'\x80\x02ctorch._utils\n_rebuild_parameter\n'
    b'N}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.', 'damaged'
  ),
  'a memo of billions': (b'\x80\x02Nr\xff\xff\xff\x7f.', 'memo is damaged'),
  'tuples without end': (b'\x80\x02)' + b'\x85' * 10**6 + b'.', 'nests tuples'),
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
