"""The embedded corpus: the documentation that every CPython carries.

About 1 MB of English prose. Nothing is downloaded. It is made once for each
Python as a TFDS dataset in ArrayRecord files, and read without TensorFlow.
"""

import dataclasses
import json
import sys
from typing import Literal

import tensorflow_datasets as tfds

from ctxlm import files
from ctxlm.data.sources import prose, records, splits, units
from ctxlm.errors import UserError

VERSION = '1.0.0'  # raise it whenever the cleaning changes


class CpythonDocs(tfds.core.GeneratorBasedBuilder):
  """Help topics and docstrings of the running Python, one document each."""

  VERSION = tfds.core.Version(VERSION)

  def _info(self):
    return self.dataset_info_from_configs(
      description='Prose of pydoc topics and standard library docstrings.',
      features=tfds.features.FeaturesDict(
        {'name': tfds.features.Text(), 'text': tfds.features.Text()}
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    documents = list(prose.documents())
    if len(documents) < 20:
      raise UserError(
        f'the Python at {sys.prefix} carries no documentation (pydoc_data and '
        'the sources of the library): use another Python, or data of your own'
      )
    return {
      split: self._generate_examples(
        [d for d in documents if splits.of(d[0]) == split]
      )
      for split in splits.SPLITS
    }

  def _generate_examples(self, documents):
    for name, text in documents:
      yield name, {'name': name, 'text': text}


def prepare():
  """Returns the folder of the prepared dataset, making it if need be."""
  # The running Python's build stands for its documentation's text.
  key = files.digest(VERSION, sys.version, tfds.__version__)
  return files.folder('corpus', key, _build) / 'data'


def _build(folder):
  builder = CpythonDocs(data_dir=folder, file_format='array_record')
  with records.quiet():
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  (folder / 'data').symlink_to(builder.data_path.relative_to(folder))
  hashes = {
    s: records.content_hash(_open(folder / 'data', s)) for s in splits.SPLITS
  }
  (folder / 'data' / 'fingerprints.json').write_text(json.dumps(hashes))


def _open(folder, split):
  return records.Tfds(str(folder), split)


@dataclasses.dataclass(frozen=True)
class Source:
  """CPython's documentation.

  Attributes:
    unit: what a record is: 'document', 'paragraph' or 'sentence'.
    fields: {name: field} of what a record has; the dataset's are 'name' and
      'text'.
  """

  unit: Literal[*units.UNITS] = 'document'
  fields: dict = None

  def records(self, split):
    """Returns the records of 'train', 'validation' or 'test'.

    Raises:
      UserError: another split.
    """
    splits.check(split, splits.SPLITS, 'corpus')
    documents = _open(prepare(), split)
    return units.choose(
      documents, self.fields, self.unit, self.fingerprint(split)
    )

  def fingerprint(self, split):
    """Returns a hash of the split's text."""
    splits.check(split, splits.SPLITS, 'corpus')
    known = json.loads((prepare() / 'fingerprints.json').read_text())
    return files.digest(known[split], *units.key(self.unit), self.fields)
