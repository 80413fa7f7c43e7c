"""TFDS datasets by name and by folder, with a small one made here."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds_lib

from ctxlm.data.sources import tfds
from ctxlm.errors import UserError


class CtxlmTestPairs(tfds_lib.core.GeneratorBasedBuilder):
  """Twenty pairs with a score."""

  VERSION = tfds_lib.core.Version('1.0.0')

  def _info(self):
    features = {
      'first': tfds_lib.features.Text(),
      'second': tfds_lib.features.Text(),
      'score': np.float32,
    }
    return tfds_lib.core.DatasetInfo(
      builder=self, features=tfds_lib.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager):
    return {
      'train': self._generate_examples(0, 20),
      'dev': self._generate_examples(20, 25),
    }

  def _generate_examples(self, start, stop):
    for i in range(start, stop):
      yield i, {'first': f'é {i}. B.', 'second': f'b {i}', 'score': i / 4}


NAME = 'ctxlm_test_pairs'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A data_dir that has the dataset, made by asking for it."""
  folder = tmp_path_factory.mktemp('tfds')
  source = tfds.Source(NAME, data_dir=str(folder), download=True)
  assert len(source.records('train')) == 20
  return folder


def expected(start, stop):
  return {(f'é {i}. B.', f'b {i}', i / 4) for i in range(start, stop)}


@pytest.mark.parametrize('by', ['name', 'version', 'folder', 'parent'])
def test_found_by_name_and_folder(root, by, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(root))
  names = {
    'name': NAME,
    'version': f'{NAME}:1.0.0',
    'folder': str(root / NAME / '1.0.0'),
    'parent': str(root / NAME),
  }
  fields = {'text_a': 'first', 'text_b': 'second', 'score': 'score'}
  source = tfds.Source(names[by], fields=fields, splits={'validation': 'dev'})
  for split, (start, stop) in {
    'train': (0, 20),
    'validation': (20, 25),
  }.items():
    records = source.records(split)
    found = [records[i] for i in range(len(records))]
    assert {type(f['score']) for f in found} == {float}
    assert {tuple(f.values()) for f in found} == expected(start, stop)


def test_the_newest_version_is_taken(root, tmp_path):
  for version in ('1.9.0', '1.10.0', '1.2.0'):
    shutil.copytree(root / NAME / '1.0.0', tmp_path / NAME / version)
  # Only the newest can be read.
  for version in ('1.9.0', '1.2.0'):
    path = tmp_path / NAME / version / 'dataset_info.json'
    path.write_text(path.read_text().replace('array_record', 'tfrecord'))
  assert len(tfds.Source(NAME, data_dir=str(tmp_path)).records('dev')) == 5


def test_slices_units_and_fingerprints(root):
  def source(**more):
    return tfds.Source(NAME, data_dir=str(root), **more)

  parts = source(splits={'train': 'train[:25%]', 'test': 'train[25%:]+dev'})
  assert len(parts.records('train')) == 5
  assert len(parts.records('test')) == 20
  sentences = source(fields={'text': 'first'}, unit='sentence')
  assert len(sentences.records('dev')) == 10
  prints = [
    source().fingerprint('train'),
    source().fingerprint('dev'),
    parts.fingerprint('train'),
    sentences.fingerprint('train'),
  ]
  assert len(set(prints)) == 4
  assert source().fingerprint('train') == prints[0]


def test_mistakes(root, tmp_path):
  def source(name=NAME, **more):
    return tfds.Source(name, **{'data_dir': str(root)} | more)

  with pytest.raises(UserError, match="no dataset 'lm1b'.*download=True"):
    source('lm1b').records('train')
  with pytest.raises(UserError, match='no dataset'):
    source(data_dir=str(tmp_path)).records('train')
  with pytest.raises(UserError, match="knows no dataset 'no_such'"):
    source('no_such', download=True).records('train')
  with pytest.raises(UserError, match="no split 'validation'.*dev, train"):
    source().records('validation')
  with pytest.raises(UserError, match="no field 'frist'. It has: 'first'"):
    source(fields={'text': 'frist'}).records('train')
  with pytest.raises(ValueError, match='dataset is needed'):
    tfds.Source()
  # As TFDS prepares by default: only TensorFlow can read that.
  (tmp_path / 'x').mkdir()
  (tmp_path / 'x' / 'dataset_info.json').write_text(
    json.dumps({'fileFormat': 'tfrecord', 'splits': []})
  )
  with pytest.raises(UserError, match='tfrecord files'):
    source(str(tmp_path / 'x')).records('train')
