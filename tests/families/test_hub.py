"""A name is a folder, or the hub's snapshot that huggingface_hub keeps."""

import os

import huggingface_hub
import pytest

from ctxlm.errors import UserError
from ctxlm.families import hub


def snapshot(cache, name, revision, main=True):
  folder = cache / f'models--{name.replace("/", "--")}'
  path = folder / 'snapshots' / revision
  path.mkdir(parents=True)
  (path / 'config.json').write_text('{}')
  if main:
    (folder / 'refs').mkdir(exist_ok=True)
    (folder / 'refs' / 'main').write_text(revision)
  return path


def test_folders(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'org' / 'model').mkdir(parents=True)
  assert hub.find('org/model').samefile(tmp_path / 'org' / 'model')
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='is a file'):
    hub.find('file')


@pytest.mark.parametrize('name', ['gpt2', 'org/model-1.5'])
@pytest.mark.parametrize('variable', ['HF_HUB_CACHE', 'HF_HOME'])
def test_snapshots(tmp_path, monkeypatch, name, variable):
  monkeypatch.setenv(variable, str(tmp_path))
  if variable == 'HF_HOME':
    monkeypatch.delenv('HF_HUB_CACHE', raising=False)
  cache = tmp_path if variable == 'HF_HUB_CACHE' else tmp_path / 'hub'
  old = snapshot(cache, name, 'a' * 40)
  new = snapshot(cache, name, 'b' * 40, main=False)
  os.utime(new, (1, 1))
  assert hub.find(name) == old
  # As the library itself finds it.
  assert huggingface_hub.snapshot_download(
    name, cache_dir=cache, local_files_only=True
  ) == str(old)
  (cache / f'models--{name.replace("/", "--")}' / 'refs' / 'main').unlink()
  assert hub.find(name) == old  # the newest


@pytest.mark.parametrize(
  'name, wanted',
  [
    ('org/none', 'get it with: hf download org/none$'),
    ('none', 'hf download none$'),
    ('/none/x/y', 'no folder /none/x/y$'),
    ('../x', 'no folder ../x$'),
    ('a/b/c', 'no folder a/b/c$'),
    ('a b', 'no folder a b$'),
    ('/none/x.arpa', 'no file /none/x.arpa$'),
    ('x.gguf', 'no file x.gguf$'),
  ],
)
def test_mistakes(tmp_path, monkeypatch, name, wanted):
  monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
  with pytest.raises(UserError, match=wanted):
    hub.find(name)


def test_a_reference_leads_to_no_other_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
  path = snapshot(tmp_path, 'm', 'a' * 40)
  (tmp_path / 'secret').mkdir()
  refs = tmp_path / 'models--m' / 'refs' / 'main'
  refs.write_text('../../secret')
  assert hub.find('m') == path
