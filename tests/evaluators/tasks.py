"""A made-up task of the tests of few_shot: its records and its format."""

import json
import zlib

import numpy as np

WORDS = ('fox', 'dog', 'quick', 'lazy', 'brown', 'over')
FORMAT = {
  'name': 'few_shot',
  'template': '{text}: {answer}',
  'verbalisers': {'0': 'the', '1': 'lazy dog', '2': 'a'},
  'separator': '. ',
  'shots': 3,
}
LABELS = tuple(FORMAT['verbalisers'].values())


def rows(count, first=0):
  """Returns records, whose labels are 0, 1 and 2 by turns."""
  return [
    {'text': f'{WORDS[i % 6]} {WORDS[i // 6 % 6]} {i}', 'label': i % 3}
    for i in range(first, first + count)
  ]


def shown(record):
  """Returns a record as it is shown."""
  return f'{record["text"]}: {LABELS[record["label"]]}'


def write(path, records):
  """Writes a line each; returns the path."""
  path.write_text(''.join(json.dumps(row) + '\n' for row in records))
  return str(path)


def source(folder):
  """Returns the block of 9 records to show and 10 queries, 9 to 18."""
  return {
    'name': 'files',
    'split_patterns': {
      'train': write(folder / 'train.jsonl', rows(9)),
      'validation': write(folder / 'validation.jsonl', rows(10, 9)),
    },
  }


def made_up(pairs):
  """Returns what continuations may be said to be, by all ids until each."""
  return [
    (
      np.array(
        [
          -(zlib.crc32(repr((context, ids[: i + 1])).encode()) % 997) / 200
          for i in range(len(ids))
        ]
      ),
      [len(ids) < 2] * len(ids),
    )
    for context, ids in pairs
  ]
