"""Local text: plain files, jsonl, csv and tsv, by pattern."""

import dataclasses
import glob
import hashlib
import json
import os
from typing import Literal

from ctxlm import files
from ctxlm.data.sources import file_formats, records, splits, units
from ctxlm.errors import UserError

VERSION = 2  # raise it whenever the same files give other records
LONG = 2**16  # bytes of a file that is more than one text, of 10,000 words


@dataclasses.dataclass(frozen=True)
class Source:
  """Records of the files that match a pattern.

  Attributes:
    pattern: glob, '**' included; its records are put into splits by the hash
      of their text: 90 % train, 5 % validation, 5 % test. What else a record
      has, such as an id, doesn't count, so that no text is in two splits.
    split_patterns: {split: pattern} in place of `pattern`.
    format: 'text', 'jsonl', 'csv' or 'tsv'; 'auto' goes by each file's ending,
      which for plain text is any other. A file may be compressed (.gz, .bz2,
      .xz, .zst): a.jsonl.gz is a jsonl.
    separator: what ends a document of plain text: 'blank_line', 'line' or
      'file'.
    columns: names of the columns of csv and tsv; () reads them from each
      file's first line.
    fields: {name: the files' field}, such as {'text': 'body'}; None takes all
      as they are.
    unit: what a record is: 'document', 'paragraph' (a line) or 'sentence'.
  """

  pattern: str = ''
  split_patterns: dict = None
  format: Literal['auto', *file_formats.FORMATS] = 'auto'
  separator: Literal[*file_formats.SEPARATORS] = 'blank_line'
  columns: tuple = ()
  fields: dict = None
  unit: Literal[*units.UNITS] = 'document'

  def __post_init__(self):
    if bool(self.pattern) == bool(self.split_patterns):
      raise ValueError('give pattern, or split_patterns, and not both')

  def records(self, split):
    """Returns the records of a split.

    Raises:
      UserError: no file, an empty one, one that isn't UTF-8 or not of its
        format, no such split or field.
    """
    key = self._key(split)

    def build(folder):
      self._write(folder, split)

    folder = files.folder('files', key, build)
    whole = self._whole_files(folder, split)
    base = (records.WholeFiles if whole else records.Store)(folder / split)
    if not len(base):
      raise UserError(
        f'split {split!r} of {self._pattern(split)} has no records; with few '
        'of them, give data.split_patterns'
      )
    fingerprint = self.fingerprint(split)
    return units.choose(base, self.fields, self.unit, fingerprint)

  def fingerprint(self, split):
    """Returns a hash of the files' content and all options."""
    unit = units.key(self.unit)
    return files.digest(self._key(split), split, self.fields, *unit)

  def _key(self, split):
    digests = []
    for path in self._paths(split):
      with open(path, 'rb') as f:
        digests.append(hashlib.file_digest(f, 'sha256').hexdigest())
      digests.append(files.ending(path))
    options = self.format, self.separator, tuple(self.columns)
    own = split if self.split_patterns else ''
    numbers = self._numbers()
    return files.digest(VERSION, own, self.fields, numbers, *options, *digests)

  def _pattern(self, split):
    if not self.split_patterns:
      splits.check(split, splits.SPLITS, self.pattern)
      return self.pattern
    splits.check(split, self.split_patterns, 'files')
    return self.split_patterns[split]

  def _paths(self, split):
    pattern = self._pattern(split)
    paths = glob.glob(os.path.expanduser(pattern), recursive=True)
    paths = sorted(p for p in paths if os.path.isfile(p))
    if not paths:
      raise UserError(f'no file matches {pattern!r} in {os.getcwd()}')
    return paths

  def _numbers(self):
    # csv has no types: what is to be a label or a score is read as a number.
    fields = self.fields or {'label': 'label', 'score': 'score'}
    return tuple(v for k, v in fields.items() if k in ('label', 'score'))

  def _write(self, folder, split):
    if self.split_patterns:
      places = {split: folder / split}
    else:
      places = {s: folder / s for s in splits.SPLITS}
    writers = {s: records.Writer(place) for s, place in places.items()}
    for record in self._read(split):
      if self.split_patterns:
        writers[split].add(record)
      else:
        writers[splits.of(self._text(record))].add(record)
    for writer in writers.values():
      writer.close()

  def _whole_files(self, folder, split):
    # Whether plain text has nothing that ends a document, and a document, the
    # whole file, is none that anybody has written as one.
    paths = self._paths(split)
    kinds = {self._kind(p) for p in paths}
    if kinds != {'text'} or self.separator != 'blank_line' or self.fields:
      return False
    written = [records.Store(path) for path in folder.iterdir()]
    size = sum(store.size for store in written)
    return sum(map(len, written)) == len(paths) and (
      len(paths) == 1 or size > LONG * len(paths)
    )

  def _kind(self, path):
    ending = files.ending(path)[1:].lower()
    if self.format != 'auto':
      return self.format
    return ending if ending in file_formats.FORMATS else 'text'

  def _text(self, record):
    # What a record is known by: the text of the chosen fields, or all of them
    # if none is of text.
    fields = self.fields or {name: name for name in record}
    chosen = {new: record.get(old) for new, old in fields.items()}
    text = {k: v for k, v in chosen.items() if k in units.TEXTS}
    return json.dumps(text or chosen, sort_keys=True, ensure_ascii=False)

  def _read(self, split):
    for path in self._paths(split):
      if not os.path.getsize(path):
        raise UserError(f'{path} is empty')
      empty = True
      for record in file_formats.FORMATS[self._kind(path)](path, self):
        for name in self._numbers():
          if isinstance(record.get(name), str):
            record[name] = file_formats.number(record[name])
        empty = False
        yield record
      if empty:
        raise UserError(f'{path} has no text')
