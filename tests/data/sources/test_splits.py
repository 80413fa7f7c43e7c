"""Which split a record is in."""

import json

import pytest

from ctxlm.data.sources import files, splits
from tests.data.sources.test_files import read


def test_one_pattern_is_split_by_content(tmp_path):
  lines = [f'document {i}' for i in range(2000)]
  path = tmp_path / 'a.txt'
  path.write_text('\n'.join(lines))
  source = files.Source(pattern=str(path), separator='line')
  found = {s: [r['text'] for r in read(source, s)] for s in splits.SPLITS}
  assert sorted(t for f in found.values() for t in f) == sorted(lines)
  # 5 standard deviations of the binomial: 0.034 and 0.024.
  assert abs(len(found['train']) / 2000 - 0.9) < 0.034
  assert abs(len(found['test']) / 2000 - 0.05) < 0.025
  # The same text twice, or in another order, is in the same split.
  path.write_text('\n'.join(lines[::-1] * 2))
  again = {s: {r['text'] for r in read(source, s)} for s in splits.SPLITS}
  assert again == {s: set(f) for s, f in found.items()}


@pytest.mark.parametrize(
  'fields', [None, {'text': 'text'}, {'text': 'text', 'name': 'id'}]
)
def test_a_text_is_in_one_split_whatever_its_id(tmp_path, fields):
  path = tmp_path / 'a.jsonl'
  rows = [{'id': str(n), 'text': f'text {n % 400}'} for n in range(1200)]
  path.write_text('\n'.join(map(json.dumps, rows)))
  source = files.Source(pattern=str(path), fields=fields)
  texts = [{r['text'] for r in read(source, s)} for s in splits.SPLITS]
  assert sum(map(len, texts)) == len(set.union(*texts)) == 400
  assert all(texts)


@pytest.mark.parametrize(
  'told',
  [
    lambda n: {'prompt': f'p {n}', 'completion': 'yes'},
    lambda n: {'messages': [{'role': 'user', 'content': f'm {n}'}]},
    lambda n: {'turns': [f't {n}', 'yes']},
    lambda n: {'question': f'q {n}', 'choices': ['a', 'b']},
    lambda n: {'tokens': ['w', str(n)], 'tags': ['O', 'O']},
  ],
)
def test_what_is_told_is_in_one_split_whatever_its_id(tmp_path, told):
  path = tmp_path / 'a.jsonl'
  rows = [{'id': n} | told(n % 400) for n in range(1200)]
  path.write_text('\n'.join(map(json.dumps, rows)))
  own = [
    {
      json.dumps({k: v for k, v in r.items() if k != 'id'})
      for r in read(files.Source(pattern=str(path)), s)
    }
    for s in splits.SPLITS
  ]
  assert sum(map(len, own)) == len(set.union(*own)) == 400
  assert all(own)


def test_splits_go_by_the_chosen_fields(tmp_path):
  path = tmp_path / 'a.csv'
  lines = [f'{n},title {n},body {n % 200}' for n in range(800)]
  path.write_text('\n'.join(['id,title,body', *lines]))
  source = files.Source(pattern=str(path), fields={'text': 'body'})
  texts = [{r['text'] for r in read(source, s)} for s in splits.SPLITS]
  assert sum(map(len, texts)) == 200
  # Without text, by all that there is.
  source = files.Source(pattern=str(path), fields={'label': 'id'})
  assert sum(len(read(source, s)) for s in splits.SPLITS) == 800
