import bz2
import dataclasses
import gzip
import json
import pickle

import pytest

from ctxlm.data.sources import file_formats, files, records, splits, units
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


def test_jsonl(tmp_path):
  rows = [{'s': 'é "x"', 'n': 1, 'f': 0.5}, {'s': 'b', 'n': 2, 'f': 1.5}]
  text = '\n'.join(json.dumps(r) for r in rows) + '\n\n'
  (tmp_path / 'a.jsonl').write_text(text)
  fields = {'text': 's', 'label': 'n'}
  found = read(only(tmp_path / 'a.jsonl', fields=fields))
  assert found == [{'text': 'é "x"', 'label': 1}, {'text': 'b', 'label': 2}]


SQUAD = {
  'version': '2',
  'data': [
    {
      'title': f'T{t}',
      'paragraphs': [
        {
          'context': f'The context {t} {p}.',
          'qas': [
            {
              'id': f'{t}{p}{q}',
              'question': f'q{q}?',
              'is_impossible': q == 0,
              'answers': [{'text': 'The', 'answer_start': 0}] * q,
            }
            for q in range(3)
          ],
        }
        for p in range(2)
      ],
    }
    for t in range(40)
  ],
}


@pytest.mark.parametrize('indent', [None, 1])
def test_squad(tmp_path, indent):
  path = tmp_path / 'dev-v2.0.json.gz'
  path.write_bytes(gzip.compress(json.dumps(SQUAD, indent=indent).encode()))
  expected = [
    {
      'id': qa['id'],
      'title': article['title'],
      'context': paragraph['context'],
      'question': qa['question'],
      'answers': {
        'text': [a['text'] for a in qa['answers']],
        'answer_start': [a['answer_start'] for a in qa['answers']],
      },
    }
    for article in SQUAD['data']
    for paragraph in article['paragraphs']
    for qa in paragraph['qas']
  ]
  assert read(only(path, format='squad')) == expected
  fields = {
    'context': 'data.*.paragraphs.*.context',
    'first': 'data.*.paragraphs.*.qas.*.answers.text',
  }
  assert read(only(path, fields=fields)) == [
    {'context': r['context'], 'first': r['answers']['text']} for r in expected
  ]
  # A context is in one split, with all its questions.
  source = files.Source(pattern=str(path), format='squad')
  found = [{r['context'] for r in read(source, s)} for s in splits.SPLITS]
  assert sum(map(len, found)) == len(set.union(*found)) == 80
  source = files.Source(pattern=str(path), format='squad', split_by='title')
  found = [{r['title'] for r in read(source, s)} for s in splits.SPLITS]
  assert sum(map(len, found)) == len(set.union(*found)) == 40
  with pytest.raises(UserError, match="has no field 'titel'"):
    dataclasses.replace(source, split_by='titel').records('train')
  with pytest.raises(ValueError, match='split_patterns'):
    only(path, split_by='title')


def test_json_is_a_list_an_object_or_one_a_line(tmp_path):
  path = tmp_path / 'a.json'
  rows = [{'text': 'a', 'tags': ['x', 'y']}, {'text': 'b', 'tags': []}]
  for text in (
    json.dumps(rows),
    json.dumps(rows, indent=2),
    '\n'.join(map(json.dumps, rows)),
  ):
    path.write_text(text)
    assert read(only(path)) == rows
  path.write_text(json.dumps({'rows': rows}))
  assert read(only(path, fields={'tag': 'rows.*.tags.*'})) == [
    {'tag': 'x'},
    {'tag': 'y'},
  ]


def test_a_record_a_line(tmp_path):
  """TREC's files: Latin-1, and a label of two parts before the text."""
  path = tmp_path / 'train.tsv'  # whatever its name
  path.write_bytes('DESC:def What is: \xe9 ?\n\nNUM:date When ?'.encode('l1'))
  options = {'line': '{label}:{fine} {text}', 'encoding': 'latin-1'}
  fields = {'label': 'label', 'text': 'text'}
  assert read(only(path, fields=fields, **options)) == [
    {'label': 'DESC', 'text': 'What is: \xe9 ?'},
    {'label': 'NUM', 'text': 'When ?'},
  ]
  path.write_text('__label__1 good {so} \nno')
  with pytest.raises(
    UserError, match="line 2, is not as line='__label.*: 'no'"
  ):
    read(only(path, line='__label__{label} {text}'))
  path.write_text('__label__1 {good} so\n')
  found = read(only(path, line='__label__{label} {{{text}}} so'))
  assert found == [{'label': 1, 'text': 'good'}]
  path.write_bytes(b'a\n\xff')
  with pytest.raises(UserError, match="line 2; say .* data.encoding='latin-1'"):
    read(only(path))
  with pytest.raises(UserError, match='is not CP1252: byte 0x81 in line 1'):
    path.write_bytes(b'\x81')
    read(only(path, encoding='cp1252'))


@pytest.mark.parametrize(
  'options, wanted',
  [
    ({'line': 'text'}, 'has no fields'),
    ({'line': '{a!r} {b}'}, 'has no fields'),
    ({'line': '{a'}, "expected '}'"),
    ({'line': '{a}{b}'}, 'text between them'),
    ({'line': '{a} {a}'}, 'names of their own'),
    ({'line': '{a}', 'format': 'csv'}, "not of 'csv'"),
    ({'encoding': 'utf-16'}, "encoding='utf-16' is none that lines"),
    ({'encoding': 'nonsense'}, 'is none that lines'),
    ({'encoding': 'rot13'}, 'is none that lines'),
  ],
)
def test_lines_that_can_not_be(options, wanted):
  with pytest.raises(ValueError, match=wanted):
    only('a', **options)


def test_conll(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('-DOCSTART- X\n\na DT\nb NN\n\n\nc\td e\n')
  found = read(only(path, format='conll', columns=('tokens', 'tags')))
  assert found == [
    {'tokens': ['a', 'b'], 'tags': ['DT', 'NN']},
    {'tokens': ['c'], 'tags': ['d e']},
  ]
  packed = tmp_path / 'b.txt.gz'
  packed.write_bytes(gzip.compress(b'a DT B-NP\nb NN I-NP\n\nc X O\n'))
  options = {'format': 'conll', 'columns': ('tokens', 'pos', 'tags')}
  fields = {'tokens': 'tokens', 'tags': 'tags'}
  assert read(only(packed, fields=fields, **options)) == [
    {'tokens': ['a', 'b'], 'tags': ['B-NP', 'I-NP']},
    {'tokens': ['c'], 'tags': ['O']},
  ]


def test_lines_and_files_in_memory_have_bounds(tmp_path, monkeypatch):
  (tmp_path / 'a.txt').write_text('ok\n' + 'x' * 2**21)
  monkeypatch.setattr(files.files, 'MOST_LINE', 2**20)
  with pytest.raises(UserError, match='a line of more than 1 MB'):
    read(only(tmp_path / 'a.txt'))
  monkeypatch.setattr(file_formats, 'MOST_JSON', 2**20)
  (tmp_path / 'a.json').write_text('[' + '\n' * 2**20 + ']')
  with pytest.raises(UserError, match='more than 1 MB .* format=.jsonl.'):
    read(only(tmp_path / 'a.json'))


@pytest.mark.parametrize('depth', [200, 900, 100_000])
@pytest.mark.parametrize('ending', ['json', 'jsonl'])
def test_what_is_nested_deeply(tmp_path, ending, depth):
  path = tmp_path / f'a.{ending}'
  path.write_text('{"text": ' + '[' * depth + ']' * depth + '}')
  with pytest.raises(UserError, match='nested more than 100|recursion') as e:
    read(only(path))
  assert '\n' not in str(e.value)


def test_csv_and_tsv(tmp_path):
  (tmp_path / 'a.csv').write_text('x,y,s\n"a, b\nc",2,0.5\nd,3,1\n')
  fields = {'text_a': 'x', 'label': 'y', 'score': 's'}
  assert read(only(tmp_path / 'a.csv', fields=fields)) == [
    {'text_a': 'a, b\nc', 'label': 2, 'score': 0.5},
    {'text_a': 'd', 'label': 3, 'score': 1},
  ]
  # What isn't written as a number is, is a name.
  for name in ('1.10', '007', '1_2', '1e3', 'nan', '+1'):
    (tmp_path / 'b.csv').write_text(f'text,label\na,{name}\n')
    assert read(only(tmp_path / 'b.csv'))[0]['label'] == name
  # GLUE's quotation marks have no partner.
  (tmp_path / 'a.tsv').write_text('"a\t1\nb"\t2\n')
  found = read(only(tmp_path / 'a.tsv', columns=('text', 'label')))
  assert found == [{'text': '"a', 'label': 1}, {'text': 'b"', 'label': 2}]


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


def test_lines_of_old_macs(tmp_path):
  (tmp_path / 'a.txt').write_bytes(b'One a.\rOne b.\r\rTwo.\r')
  found = read(only(tmp_path / 'a.txt'))
  assert [r['text'] for r in found] == ['One a.\nOne b.', 'Two.']
  (tmp_path / 'a.csv').write_bytes(b'x,y\r"a\rb",2\rd,3\r')
  assert read(only(tmp_path / 'a.csv')) == [
    {'x': 'a\nb', 'y': '2'},
    {'x': 'd', 'y': '3'},
  ]


@pytest.mark.parametrize('mark', ['\x0c', '\x1c', '\x85', '\u2028'])
def test_other_marks_end_no_line(tmp_path, mark):
  (tmp_path / 'a.txt').write_text(f'One{mark}a.\nOne b.')
  for unit in ('paragraph', 'sentence'):
    found = read(only(tmp_path / 'a.txt', unit=unit))
    assert [r['text'] for r in found] == [f'One{mark}a.', 'One b.']


@pytest.mark.parametrize('ending', ['csv', 'tsv'])
def test_long_fields(tmp_path, ending):
  text = 'word ' * 60_000  # more than the csv module's own limit
  path = tmp_path / f'a.{ending}'
  path.write_text('text\n' + text + '\n')
  assert read(only(path)) == [{'text': text}]


def test_a_column_that_is_there_twice_is_said(tmp_path, capsys):
  (tmp_path / 'a.csv').write_text('text,text,,\na,b,c,d\n')
  found = read(only(tmp_path / 'a.csv', fields={'text': 'text'}))
  assert found == [{'text': 'b'}]
  assert "named 'text' the last is read" in capsys.readouterr().err


def test_a_carriage_return_in_a_tsv_is_text(tmp_path):
  (tmp_path / 'a.tsv').write_bytes(b'text\tlabel\na\rb\t1\n')
  assert read(only(tmp_path / 'a.tsv')) == [{'text': 'a\rb', 'label': 1}]


def test_half_a_surrogate_pair_is_replaced(tmp_path, capsys):
  path = tmp_path / 'a.jsonl'
  path.write_text(
    '{"text": "a"}\n'
    '{"text": "b \\ud83d ", "more": ["\\udc00"]}\n'
    '{"text": "\\ud83d\\ude00 \\u00e9"}\n'
  )
  found = read(only(path))
  assert found == [
    {'text': 'a'},
    {'text': 'b \ufffd ', 'more': ['\ufffd']},
    {'text': '\U0001f600 é'},
  ]
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'in 1 lines' in err and 'line 2' in err


def test_every_row_has_the_fields(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"text": "a", "body": "a"}\n{"text": "b"}\n')
  assert len(read(only(path))) == 2
  with pytest.raises(UserError, match="line 2, has no field 'body'"):
    read(only(path, fields={'text': 'body'}))
  path.write_text('{"text": "a"}\n{"txt": "b"}\n')
  with pytest.raises(UserError, match="record 1 .*no field 'text'.*'txt'"):
    read(only(path, unit='sentence'))


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
