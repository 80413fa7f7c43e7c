"""Any TFDS dataset, by name or prepared folder, read without TensorFlow."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Literal

import tensorflow_datasets as tfds

from ctxlm import files
from ctxlm.data.sources import paths, records, splits, units
from ctxlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
  """A dataset prepared as ArrayRecord files.

  Attributes:
    dataset: 'lm1b', 'glue/stsb', 'wikipedia/20230601.en:1.0.0', or a folder
      that holds dataset_info.json.
    data_dir: where datasets lie; '' is $TFDS_DATA_DIR or
      ~/tensorflow_datasets.
    splits: {'train', 'validation', 'test': the dataset's name of it}, slices
      such as 'train[90%:]' included; those left out keep their names.
    fields: {name: the dataset's field, or its path}, such as {'text_a':
      'sentence1'}.
    unit: what a record is: 'document', 'paragraph' or 'sentence'.
    download: whether to download and prepare a dataset that isn't there.
  """

  dataset: str = ''
  data_dir: str = ''
  splits: dict = None
  fields: dict = None
  unit: Literal[*units.UNITS] = 'document'
  download: bool = False

  def __post_init__(self):
    if not self.dataset:
      raise ValueError("dataset is needed, such as 'glue/stsb'")
    paths.check(self.fields or {})

  def records(self, split):
    """Returns the records of a split.

    Raises:
      UserError: no such dataset, split or field.
    """
    folder, name = self._folder(), self._split(split)
    base = records.Tfds(str(folder), name)
    return units.choose(base, self.fields, self.unit, self.fingerprint(split))

  def fingerprint(self, split):
    """Returns a hash of the split: its metadata, files and some records."""
    folder, name = self._folder(), self._split(split)
    base = records.Tfds(str(folder), name)
    some = units.sample(base)
    sizes = sorted((f.name, f.stat().st_size) for f in folder.iterdir())
    # Reading everything would take hours for the large ones.
    return files.digest(sizes, name, *units.key(self.unit), self.fields, *some)

  def _split(self, split):
    name = (self.splits or {}).get(split, split)
    info = json.loads((self._folder() / 'dataset_info.json').read_text())
    known = [s['name'] for s in info['splits']]
    for part in name.split('+'):
      splits.check(part.split('[')[0].strip(), known, self.dataset)
    return name

  def _folder(self):
    folder = self._find()
    if folder is None and self.download:
      folder = self._prepare()
    if folder is None:
      raise UserError(
        f'no dataset {self.dataset!r} in {self._root()}: name a prepared '
        'folder, or set config.tasks.NAME.data.download=True'
      )
    info = json.loads((folder / 'dataset_info.json').read_text())
    kind = info.get('fileFormat', 'tfrecord')
    if kind != 'array_record':
      raise UserError(
        f'{folder} is in {kind} files, which only TensorFlow reads: prepare it '
        'with file_format=array_record, or `tfds convert_format` it'
      )
    return folder

  def _root(self):
    where = self.data_dir or os.environ.get('TFDS_DATA_DIR')
    return Path(where or Path.home() / 'tensorflow_datasets').expanduser()

  def _find(self):
    # Looked for as files: without a network, tfds.builder retries for minutes.
    name, _, version = self.dataset.partition(':')
    for folder in (Path(name).expanduser(), self._root() / name):
      folder = folder / version
      if (folder / 'dataset_info.json').is_file():
        return folder
      versions = [f.parent for f in folder.glob('*/dataset_info.json')]
      if versions:
        return max(versions, key=_version)
    return None

  def _prepare(self):
    # The older groups of datasets are not found until they are imported.
    import tensorflow_datasets.question_answering
    import tensorflow_datasets.summarization
    import tensorflow_datasets.text
    import tensorflow_datasets.translate  # noqa: F401

    try:
      builder = tfds.builder(
        self.dataset,
        data_dir=self._root(),
        file_format='array_record',
        try_gcs=False,
      )
    except tfds.core.registered.DatasetNotFoundError as e:
      raise UserError(f'TFDS knows no dataset {self.dataset!r}') from e
    with records.quiet():
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
      )
    return Path(builder.data_path)


def _version(folder):
  parts = folder.name.split('.')
  return [int(p) if p.isdigit() else -1 for p in parts]
