import bz2
import gzip
import pickle

import pytest

from ctxlm.data.sources import files, records, splits, units
from ctxlm.errors import UserError


def read(source, split='train'):
  records = source.records(split)
  return [records[i] for i in range(len(records))]


def only(path, **options):
  return files.Source(split_patterns={'train': str(path)}, **options)


TEXT = '\ufeffOne a.\nOne b. Ünï.\n\n\n  \nTwo.\r\n\r\nThree.'


@pytest.mark.parametrize(
  'options, expected',
  [
    ({}, ['One a.\nOne b. Ünï.', 'Two.', 'Three.']),
    ({'separator': 'line'}, ['One a.', 'One b. Ünï.', 'Two.', 'Three.']),
    ({'unit': 'sentence'},
     ['One a.', 'One b.', 'Ünï.', 'Two.', 'Three.']),
    ({'unit': 'paragraph'}, ['One a.', 'One b. Ünï.', 'Two.', 'Three.']),
  ],
)  # fmt: skip
def test_plain_text(tmp_path, options, expected):
  (tmp_path / 'a.txt').write_bytes(TEXT.encode())
  found = read(only(tmp_path / '*.txt', **options))
  assert [r['text'] for r in found] == expected


def test_whole_files_in_the_order_of_names(tmp_path):
  (tmp_path / 'b').write_text('2\n\n3')
  (tmp_path / 'a').write_text('1')
  found = read(only(tmp_path / '*', separator='file'))
  assert [r['text'] for r in found] == ['1', '2\n\n3']


def test_compressed_files_are_what_they_hold(tmp_path):
  (tmp_path / 'a.csv.gz').write_bytes(gzip.compress(b'text\n"one, two"\n'))
  (tmp_path / 'b.jsonl.bz2').write_bytes(bz2.compress(b'{"text": "three"}\n'))
  (tmp_path / 'c.TXT.GZ').write_bytes(gzip.compress(b'four\n\nfive\n'))
  found = [r['text'] for r in read(only(tmp_path / '*'))]
  assert found == ['one, two', 'three', 'four', 'five']


def test_large_files_are_no_texts_however_they_are_kept(tmp_path):
  text = 'One sentence is here. ' * 4000
  for n in range(2):
    (tmp_path / f'{n}.txt').write_text(f'{n} {text}')
    data = gzip.compress(f'{n} {text}'.encode())
    (tmp_path / f'{n}.txt.gz').write_bytes(data)
  for ending in ('txt', 'txt.gz'):
    found = only(tmp_path / f'*.{ending}').records('train')
    assert isinstance(found, records.WholeFiles)


def test_fingerprint_is_of_content_and_options(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('a\n\nb')
  first = only(path).fingerprint('train')
  assert only(path).fingerprint('train') == first
  others = [
    only(path, separator='line').fingerprint('train'),
    only(path, unit='sentence').fingerprint('train'),
    only(path, fields={'text': 'text'}).fingerprint('train'),
  ]
  path.write_text('a\n\nc')
  others.append(only(path).fingerprint('train'))
  assert len({first, *others}) == 5
  assert read(only(path))[1] == {'text': 'c'}


def test_records_are_sent_by_name(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('x' * 100_000)
  records = only(path).records('train')
  records[0]
  data = pickle.dumps(records)
  assert len(data) < 1000 and pickle.loads(data)[0] == records[0]


@pytest.mark.parametrize(
  'name, content, options, match',
  [
    ('a.txt', b'', {}, 'a.txt is empty'),
    ('a.txt', b' \n\n', {}, 'a.txt has no text'),
    ('a.txt', b'ok\nb\xff\n', {}, 'not UTF-8: byte 0xff in line 2'),
    ('a.jsonl', b'{"text": "a"}\n{"te', {}, 'line 2, is not JSON'),
    ('a.jsonl', b'[1]\n', {}, 'no JSON object'),
    ('a.jsonl', b'{"txt": "a"}\n', {'fields': {'text': 'text'}},
     "line 1, has no field 'text'. It has: 'txt'"),
    ('a.csv', b'a,b\n1\n', {}, 'line 2, has 1 fields, not 2'),
    ('a.csv', b'a,b\n', {}, 'has no text'),
    ('a.csv', b'a,b\n1,2\n', {'fields': {'text': 'c'}}, "no field 'c'"),
    ('a.txt', b'x', {'fields': {'text': 'body'}}, "no field 'body'"),
    ('a.json', b'[1]', {}, 'record 1, is no JSON object'),
    ('a.json', b'{"a": 1,}', {}, 'a.json is not JSON: .*line 1'),
    ('a.json', b'{"a": {}}', {'fields': {'text': 'a.*.b'}},
     r"no list where '\*' of 'a.\*' stands, but an object"),
    ('a.json', b'{"data": [{"titel": 1}]}', {'format': 'squad'},
     r"no field 'title' in 'data.\*'. It has: 'titel'"),
    ('a.txt', b'a b\n\nc d e\n', {'format': 'conll', 'columns': ('x', 'y')},
     r"line 3, has 3 fields, not 2 as \['x', 'y'\]"),
    ('a.txt', b'a b\n', {'format': 'conll'}, 'set columns, such as'),
  ],
)  # fmt: skip
def test_mistakes_in_files(tmp_path, cache_root, name, content, options, match):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=match) as e:
    read(only(tmp_path / name, **options))
  assert '\n' not in str(e.value)
  assert not list(cache_root.glob('files/*.new'))


def test_every_row_has_the_fields(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"text": "a", "body": "a"}\n{"text": "b"}\n')
  assert len(read(only(path))) == 2
  with pytest.raises(UserError, match="line 2, has no field 'body'"):
    read(only(path, fields={'text': 'body'}))
  path.write_text('{"text": "a"}\n{"txt": "b"}\n')
  with pytest.raises(UserError, match="record 1 .*no field 'text'.*'txt'"):
    read(only(path, unit='sentence'))


def test_mistakes_in_options(tmp_path):
  (tmp_path / 'a.txt').write_text('x')
  with pytest.raises(UserError, match='no file matches'):
    read(only(tmp_path / 'b.txt'))
  with pytest.raises(UserError, match="no split 'test'"):
    read(only(tmp_path / 'a.txt'), 'test')
  source = files.Source(pattern=str(tmp_path / 'a.txt'))
  empty = 'train' if splits.of('{"text": "x"}') != 'train' else 'test'
  with pytest.raises(UserError, match='has no records'):
    read(source, empty)
  for wrong in (
    {},
    {'pattern': 'a', 'split_patterns': {'train': 'a'}},
  ):
    with pytest.raises(ValueError):
      files.Source(**wrong)


def test_turns_of_a_dialogue(tmp_path):
  path = tmp_path / 'dialogues.txt'
  path.write_text('a b __eou__ c ? __eou__\nd __eou__ e\n')
  source = files.Source(
    split_patterns={'train': str(path)}, separator='line', turns='__eou__'
  )
  found = source.records('train')
  assert [found[i] for i in range(len(found))] == [
    {'turns': ['a b', 'c ?']},
    {'turns': ['d', 'e']},
  ]
  assert list(units.every_text(found)) == ['a b', 'c ?', 'd', 'e']
