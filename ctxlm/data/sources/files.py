"""Local files by pattern: text, tables and JSON; and files that are aligned."""

import dataclasses
import glob
import hashlib
import itertools
import json
import os
from typing import Literal

from ctxlm import files
from ctxlm.data.sources import (
  aligned,
  file_formats,
  paths,
  records,
  splits,
  units,
)
from ctxlm.errors import UserError

VERSION = 4  # raise it whenever the same files give other records
NUMBERS = {'label', 'score'}  # which csv, having no types, has as text
LONG = 2**16  # bytes of a file that is more than one text, of 10,000 words


@dataclasses.dataclass(frozen=True)
class Source:
  """Records of the files that match a pattern.

  Attributes:
    pattern: glob, '**' included; its records are put into splits by the hash
      of their text: 90 % train, 5 % validation, 5 % test. What else a record
      has, such as an id, doesn't count, so that no text is in two splits; of a
      record with a context, that alone counts.
    aligned: {field: pattern} in place of `pattern`, of two or more: line i of
      one is line i of the others, such as a sentence and its translation. Lines
      of which one is empty are left out.
    split_patterns: {split: pattern, or {field: pattern}} in place of both.
    format: a name of `FORMATS`. 'auto' goes by each file's ending, which for
      plain text is any other. A file may be compressed (.gz, .bz2, .xz, .zst):
      a.jsonl.gz is a jsonl. 'json' is a list of objects, or one; 'squad' is
      SQuAD's own file, whose records have id, title, context, question and
      answers; 'conll' has a word a line, whose columns are lists.
    separator: what ends a document of plain text: 'blank_line', 'line' or
      'file'.
    line: of plain text with a record a line, what a line is, such as
      '{label}:{fine} {text}': a field ends where what stands behind it begins.
    encoding: of the text: 'utf-8', or one as 'latin-1' that Python knows.
    turns: what ends a turn, such as '__eou__', where a text is a dialogue: its
      records have 'turns', a list, in place of 'text'; '' is where none is.
    columns: names of the columns of csv, tsv and conll; () reads them from each
      file's first line.
    fields: {name: the files' field, or its path}, such as {'text': 'body'} or
      {'choices': 'question.choices.text'}; a '*' in a path makes a record of
      each item of a list: {'text': 'data.*.paragraphs.*.context', 'title':
      'data.*.title'}. None takes all fields as they are.
    unit: what a record is: 'document', 'paragraph' (a line) or 'sentence'.
    split_by: field by whose hash `pattern` puts records into splits, such as
      the title of the article that several are of; '' is as said there.
  """

  pattern: str = ''
  aligned: dict = None
  split_patterns: dict = None
  format: Literal['auto', *file_formats.FORMATS] = 'auto'
  separator: Literal[*file_formats.SEPARATORS] = 'blank_line'
  line: str = ''
  encoding: str = 'utf-8'
  turns: str = ''
  columns: tuple = ()
  fields: dict = None
  unit: Literal[*units.UNITS] = 'document'
  split_by: str = ''

  def __post_init__(self):
    given = [p for p in (self.pattern, self.aligned, self.split_patterns) if p]
    if len(given) != 1:
      raise ValueError('give one of pattern, aligned and split_patterns')
    if self.line:
      file_formats.pattern(self.line)
      if self.format not in ('auto', 'text'):
        raise ValueError(f'line is of plain text, and not of {self.format!r}')
    if not _holds_ascii(self.encoding):
      raise ValueError(
        f'encoding={self.encoding!r} is none that lines are read in, such as '
        "'latin-1': convert the files, for instance with iconv -t UTF-8"
      )
    if self.split_by and self.split_patterns:
      raise ValueError('split_by puts records into splits, and split_patterns')
    paths.check(self.fields or {})

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
      why = ': its files have none'
      if self.pattern:
        why = (
          ': of all records 90 % are train, 5 % validation and 5 % test, equal '
          'ones together, so that too few leave one empty; a text file is one, '
          'but for blank lines, which end one. Name files for each, '
          '--config.tasks.NAME.data.pattern= and --config.tasks.NAME.data.'
          "split_patterns=\"{'train': FILES, 'validation': FILES}\""
        )
      raise UserError(
        f'split {split!r} of {self._pattern(split)} has no records{why}'
      )
    fingerprint = self.fingerprint(split)
    return units.choose(base, None, self.unit, fingerprint)

  def fingerprint(self, split):
    """Returns a hash of the files' content and all options."""
    unit = units.key(self.unit)
    return files.digest(self._key(split), split, self.fields, *unit)

  def _key(self, split):
    digests = []
    for name, found in self._paths(split).items():
      digests.append(name)
      for path in found:
        with open(path, 'rb') as f:
          digests.append(hashlib.file_digest(f, 'sha256').hexdigest())
        digests.append(files.ending(path))
    options = [self.format, self.separator, tuple(self.columns)]
    if self.line or self.encoding != 'utf-8':
      options += [self.line, self.encoding]
    options += [self.turns] if self.turns else []
    if self.split_by:
      options += ['split_by', self.split_by]
    own = split if self.split_patterns else ''
    return files.digest(VERSION, own, self.fields, *options, *digests)

  def _pattern(self, split):
    if not self.split_patterns:
      pattern = self.pattern or self.aligned
      splits.check(split, splits.SPLITS, pattern)
      return pattern
    splits.check(split, self.split_patterns, 'files')
    return self.split_patterns[split]

  def _paths(self, split):
    # {field: its files}, or {'': files} of whole records.
    patterns = self._pattern(split)
    if not isinstance(patterns, dict):
      patterns = {'': patterns}
    return {name: _match(pattern) for name, pattern in patterns.items()}

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
        writers[splits.of(self._known_by(record))].add(record)
    for writer in writers.values():
      writer.close()

  def _known_by(self, record):
    # What decides a record's split: a field, or its context, its texts, or all
    # that it has.
    if self.split_by:
      units.check_fields(record, [self.split_by], 0)
      return json.dumps(record[self.split_by])
    if isinstance(record.get('context'), str):
      record = {'context': record['context']}
    known = (*units.TEXTS, *units.ASKED, *units.PARTED)
    text = {k: v for k, v in record.items() if k in known}
    return json.dumps(text or record, sort_keys=True, ensure_ascii=False)

  def _whole_files(self, folder, split):
    # Whether plain text has nothing that ends a document, and a document, the
    # whole file, is none that anybody has written as one.
    found = self._paths(split).get('', ())
    kinds = {self._kind(path) for path in found}
    parted = self.separator != 'blank_line' or self.fields or self.line
    if kinds != {'text'} or parted:
      return False
    written = [records.Store(path) for path in folder.iterdir()]
    size = sum(store.size for store in written)
    return sum(map(len, written)) == len(found) and (
      len(found) == 1 or size > LONG * len(found)
    )

  def _kind(self, path):
    ending = files.ending(path)[1:].lower()
    if self.format != 'auto':
      return self.format
    if self.line:
      return 'text'
    return ending if ending in file_formats.FORMATS else 'text'

  def _read(self, split):
    found = self._paths(split)
    for path in itertools.chain(*found.values()):
      if not os.path.getsize(path):
        raise UserError(f'{path} is empty')
    groups = found[''] if '' in found else zip(*_of_number(found))
    for group in groups:
      empty = True
      for record in self._chosen(group, list(found)):
        if self.turns and isinstance(record.get('text'), str):
          record['turns'] = _turns(record.pop('text'), self.turns)
        for name in NUMBERS & record.keys():
          if isinstance(record[name], str):
            record[name] = file_formats.number(record[name])
        empty = False
        yield record
      if empty:
        path = group if '' in found else ' and '.join(group)
        raise UserError(f'{path} has no text')

  def _chosen(self, group, names):
    if names == ['']:
      rows = file_formats.FORMATS[self._kind(group)](group, self)
    else:
      rows = aligned.read(dict(zip(names, group)), self)
    for where, record in rows:
      if self.fields:
        units.check_one_text(record, self.fields.values(), 0)
        yield from paths.leaves(record, self.fields, where)
      else:
        yield record


def _turns(text, end):
  *turns, rest = (turn.strip() for turn in text.split(end))
  return [*turns, rest] if rest else turns


def _holds_ascii(encoding):
  # Whether ASCII is itself in an encoding, so that lines end as they do there.
  plain = bytes(range(128))
  try:
    return plain.decode(encoding) == plain.decode('ascii')
  except (LookupError, ValueError):
    return False


def _match(pattern):
  found = glob.glob(os.path.expanduser(pattern), recursive=True)
  found = sorted(p for p in found if os.path.isfile(p))
  if not found:
    if os.path.exists(os.path.expanduser(pattern)):
      raise UserError(f'{pattern!r} is no file that can be read again')
    where = '' if os.path.isabs(pattern) else f' in {os.getcwd()}'
    raise UserError(f'no file matches {pattern!r}{where}')
  return found


def _of_number(found):
  # The files of each field, if there are as many of all.
  counts = {name: len(paths) for name, paths in found.items()}
  if len(set(counts.values())) > 1:
    said = ' and '.join(f'{n} of {name!r}' for name, n in counts.items())
    raise UserError(f'aligned files are as many of each field, and not {said}')
  return found.values()
