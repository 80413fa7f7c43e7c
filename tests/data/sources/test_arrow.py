"""Parquet files by the files source, and the damage that they may have."""

import datetime
import random

import pyarrow as pa
import pytest
from pyarrow import parquet

from ctxlm.data.sources import arrow, files
from ctxlm.errors import UserError

ROWS = [
  {
    'text': f'é {i}',
    'tags': ['a', None][: i % 3],
    'answers': {'text': [f'x{i}'], 'start': [i]},
    'date': datetime.date(2020, 1, 1 + i % 9),
    'raw': b'\xc3\xa9',
  }
  for i in range(600)
]
PLAIN = [r | {'date': str(r['date']), 'raw': 'é'} for r in ROWS]


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('parquet') / 'a.parquet'
  parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=250)
  return path


def read(path, **options):
  made = files.Source(split_patterns={'train': str(path)}, **options)
  records = made.records('train')
  return [records[i] for i in range(len(records))]


def test_rows_are_values_as_json_has_them(path):
  assert read(path) == PLAIN
  fields = {'text': 'text', 'answer': 'answers.text.0', 'tags': 'tags'}
  assert read(path, fields=fields) == [
    {'text': r['text'], 'answer': r['answers']['text'][0], 'tags': r['tags']}
    for r in ROWS
  ]
  starred = read(path, fields={'tag': 'tags.*', 'text': 'text'})
  assert starred == [
    {'tag': tag, 'text': r['text']} for r in ROWS for tag in r['tags']
  ]


def test_only_the_columns_that_are_asked_for_are_read(path, monkeypatch):
  asked = []
  whole = parquet.ParquetFile.iter_batches

  def iter_batches(self, rows, columns):
    asked.append((rows, columns))
    return whole(self, rows, columns=columns)

  monkeypatch.setattr(parquet.ParquetFile, 'iter_batches', iter_batches)
  read(path, fields={'x': 'answers.start'})
  assert asked == [(arrow.ROWS, ['answers'])]


@pytest.mark.parametrize(
  'fields, match',
  [
    ({'text': 'txet'}, "has no field 'txet'. It has: 'text', "),
    ({'text': 'answers.txt'}, "row 1, has no field 'txt' in 'answers'"),
    ({'text': 'date.*'}, r"row 1, has no list where '\*' of 'date.\*'"),
  ],
)
def test_mistakes_in_fields(path, fields, match):
  with pytest.raises(UserError, match=match):
    read(path, fields=fields)


def test_damage_is_one_line(path, tmp_path):
  good, rng = path.read_bytes(), random.Random(0)
  cut = [good[:n] for n in (1, 100, len(good) // 2, len(good) - 1)]
  for _ in range(60):
    data = bytearray(good)
    for place in rng.choices(range(4, len(good)), k=10):
      data[place] = rng.randrange(256)
    cut.append(bytes(data))
  source, failed = files.Source(pattern='x'), 0
  for data in cut:
    (tmp_path / 'b.parquet').write_bytes(data)
    try:
      list(arrow.read_parquet(tmp_path / 'b.parquet', source))
    except UserError as e:
      assert 'b.parquet is damaged' in str(e) and '\n' not in str(e)
      failed += 1
  assert failed > 40


def test_what_is_missing_is_said(path, monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
  with pytest.raises(UserError, match='needs pyarrow: pip install pyarrow'):
    list(arrow.read_parquet(path, files.Source(pattern='x')))
