"""Datasets that Hugging Face's `datasets` keeps, by name or folder.

What the library has prepared, or saved by `save_to_disk`, are Arrow files,
which are read without it; no code of a dataset is run.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal

from ctxlm import files
from ctxlm.data.sources import arrow, paths, splits, units
from ctxlm.errors import UserError

# 'train[:90%]', 'train[1000:]'
SLICE = re.compile(r'(?P<name>[^\[\]]+)(\[(-?\d+%?)?:(-?\d+%?)?\])?')


@dataclasses.dataclass(frozen=True)
class Source:
  """A dataset that is on this machine.

  Attributes:
    dataset: 'stanfordnlp/imdb', as `datasets.load_dataset` calls it, or a
      folder of `save_to_disk`.
    config: of the dataset, such as 'sst2' of 'nyu-mll/glue'; '' is the only
      one that is there.
    data_dir: where prepared datasets lie; '' is $HF_DATASETS_CACHE, else
      $HF_HOME/datasets, which is ~/.cache/huggingface/datasets.
    splits: {'train', 'validation', 'test': the dataset's name of it}, slices
      such as 'train[90%:]' included; those left out keep their names.
    fields: {name: the dataset's field, or its path}.
    unit: what a record is: 'document', 'paragraph' or 'sentence'.
    download: whether the library is to prepare a dataset that isn't there.
  """

  dataset: str = ''
  config: str = ''
  data_dir: str = ''
  splits: dict = None
  fields: dict = None
  unit: Literal[*units.UNITS] = 'document'
  download: bool = False

  def __post_init__(self):
    if not self.dataset:
      raise ValueError("dataset is needed, such as 'stanfordnlp/imdb'")
    paths.check(self.fields or {})
    for name in (self.splits or {}).values():
      if not SLICE.fullmatch(name):
        raise ValueError(f"splits: {name!r} is not like 'train[:90%]'")

  def records(self, split):
    """Returns the records of a split.

    Raises:
      UserError: no such dataset, split or field.
    """
    base, name = self._open(split)
    fingerprint = self._digest(base, name)
    return units.choose(base, self.fields, self.unit, fingerprint)

  def fingerprint(self, split):
    """Returns a hash of the split: its files' sizes, and some records.

    And of `save_to_disk` what `datasets` knows it by.
    """
    return self._digest(*self._open(split))

  def _digest(self, base, name):
    some = units.sample(base)
    states = {Path(path).with_name('state.json') for path in base.paths}
    some += [
      str(files.read_json(state).get('_fingerprint'))
      for state in sorted(states)
      if state.is_file()
    ]
    sizes = [os.path.getsize(path) for path in base.paths]
    # As with TFDS, reading everything would take hours for the large ones.
    unit = units.key(self.unit)
    return files.digest(sizes, len(base), name, *unit, self.fields, *some)

  def _open(self, split):
    name = (self.splits or {}).get(split, split)
    match = SLICE.fullmatch(name)
    known = self._files()
    splits.check(match['name'], known, self.dataset)
    base = arrow.Streams(known[match['name']])
    start, stop = (_place(text, len(base)) for text in match.groups()[2:])
    return arrow.Part(base, *slice(start, stop).indices(len(base))[:2]), name

  def _files(self):
    # {split: its Arrow files}
    folder = Path(self.dataset).expanduser()
    if (folder / 'dataset_dict.json').is_file():
      names = files.read_json(folder / 'dataset_dict.json').get('splits')
      return {str(name): _saved(folder, str(name)) for name in names or ()}
    if (folder / 'state.json').is_file():
      split = files.read_json(folder / 'state.json').get('_split')
      return {str(split or 'train'): _saved(folder, '')}
    folder = self._find()
    if folder is None and self.download:
      self._prepare()
      folder = self._find()
    if folder is None:
      raise UserError(
        f'no dataset {self.dataset!r} in {self._root()}: name a folder of '
        'save_to_disk, or set config.tasks.NAME.data.download=True'
      )
    return _prepared(folder)

  def _root(self):
    home = Path.home() / '.cache' / 'huggingface'
    home = os.environ.get('HF_HOME') or home
    own = self.data_dir or os.environ.get('HF_DATASETS_CACHE')
    return Path(own or Path(home) / 'datasets').expanduser()

  def _find(self):
    # NAME/CONFIG/VERSION/HASH: the latest of the config.
    found, wanted = {}, _plain(self.dataset.replace('/', '___'))
    for path in self._root().glob('*/*/*/*/dataset_info.json'):
      name, config = path.parts[-5:-3]
      if _plain(name) == wanted and self.config in ('', config):
        found.setdefault(config, []).append(path)
    if len(found) > 1:
      raise UserError(
        f'dataset {self.dataset!r} has several configs: set config.tasks.NAME.'
        f'data.config to one of {", ".join(sorted(found))}'
      )
    infos = [path for one in found.values() for path in one]
    return max(infos, key=os.path.getmtime).parent if infos else None

  def _prepare(self):
    try:
      import datasets
    except ModuleNotFoundError as e:
      raise UserError(
        "to prepare a dataset needs datasets: pip install 'ctxlm[huggingface]'"
      ) from e
    if int(datasets.__version__.split('.')[0]) < 4:
      raise UserError(
        f'datasets {datasets.__version__} runs code of datasets: update it to '
        '4 or later'
      )
    try:
      datasets.load_dataset(
        self.dataset, self.config or None, cache_dir=str(self._root())
      )
    except Exception as e:  # of the network, of files, of dozens of kinds
      first = ' '.join(str(e).split())[:300]
      raise UserError(f'datasets has no {self.dataset!r}: {first}') from e


def _place(text, size):
  if text is None:
    return None
  if text.endswith('%'):
    return round(int(text[:-1]) * size / 100)
  return int(text)


def _plain(name):
  # The library writes stanfordnlp/SST2 as stanfordnlp___sst2.
  return name.lower().replace('_', '').replace('-', '')


def _saved(folder, split):
  # Paths of a split of `save_to_disk`.
  state = files.read_json(files.inside(folder, Path(split) / 'state.json'))
  try:
    names = [str(one['filename']) for one in state['_data_files']]
  except (KeyError, TypeError) as e:
    raise UserError(f'{folder / split / "state.json"} names no files') from e
  return [files.inside(folder, Path(split) / name) for name in names]


def _prepared(folder):
  # {split: paths} of a dataset in the library's cache.
  info = files.read_json(folder / 'dataset_info.json')
  found = {}
  for split in map(str, info.get('splits') or ()):
    own = re.compile(rf'.+-{re.escape(split)}(-\d+-of-\d+)?\.arrow')
    names = sorted(p.name for p in folder.iterdir() if own.fullmatch(p.name))
    found[split] = [files.inside(folder, name) for name in names]
  return found
