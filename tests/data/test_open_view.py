"""`open_view`: from a task's config to its examples."""

import subprocess
import sys
import types

import ml_collections
import numpy as np
import pytest

from ctxlm import data


def task(path, **options):
  block = {'name': 'files', 'split_patterns': {'train': str(path)}, **options}
  return ml_collections.ConfigDict({'data': block})


@pytest.fixture
def path(tmp_path):
  (tmp_path / 'a.txt').write_text('10 11. 12.\n\n20 21.\n')
  return tmp_path / 'a.txt'


def objective(view, **more):
  return types.SimpleNamespace(view=view, **more)


def test_windows(path, numbers):
  view = data.open_view(
    task(path), objective('windows', overlap=1, frame='bos'), numbers,
    'train', 6,
  )  # fmt: skip
  assert view.read(0, None)['tokens'].tolist() == [1, 10, 11, 12, 1, 1]
  assert view.read(1, None)['tokens'].tolist() == [1, 20, 21, 1, 0, 0]


def test_texts(path, numbers):
  config = task(path, unit='sentence')
  view = data.open_view(config, objective('texts'), numbers, 'train', 6)
  found = [view.read(i, None)['text'] for i in range(len(view))]
  assert found == ['10 11.', '12.', '20 21.']


def test_pairs(path, numbers):
  view = data.open_view(task(path), objective('pairs'), numbers, 'train', 8)
  example = view.read(0, np.random.default_rng(0))
  assert [s.tolist() for s in example['sentences']] == [[10, 11], [12]]
  assert example['other'].tolist() == [20, 21]


def test_views_differ_in_fingerprint(path, numbers):
  kinds = [
    objective('windows', overlap=0, frame='bos'),
    objective('windows', overlap=0, frame='cls'),
    objective('texts'),
    objective('pairs'),
  ]
  prints = [
    data.open_view(task(path), o, numbers, 'train', n).fingerprint
    for o in kinds
    for n in (8, 9)
  ]
  assert len(set(prints)) == 7  # raw texts know no length


def test_data_imports_no_model_and_no_tensorflow():
  code = (
    'import sys, ctxlm.data, ctxlm.data.loader, ctxlm.data.sources.tfds\n'
    'found = [m for m in sys.modules if m == "tensorflow" or '
    'm.startswith(("ctxlm.models", "flax", "optax"))]\n'
    'assert not found, found'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
