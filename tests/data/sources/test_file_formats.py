"""Records as each format has them."""

import dataclasses
import gzip
import json

import pytest

from ctxlm.data.sources import file_formats, files, splits
from ctxlm.errors import UserError
from tests.data.sources.test_files import only, read


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
  with pytest.raises(
    UserError, match='line 2; say --config.*data.encoding=latin-1,'
  ):
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


def test_columns_that_are_apart_by_other_marks(tmp_path):
  (tmp_path / 'a.csv').write_text('text , label\na, b\n')
  assert read(only(tmp_path / 'a.csv')) == [{'text': 'a', 'label': ' b'}]
  for mark, word in ((';', 'semicolons'), ('\t', 'tabs')):
    (tmp_path / 'a.csv').write_text(f'text{mark}label\na{mark}b\n')
    with pytest.raises(UserError, match=f'are apart by {word}: save it with'):
      read(only(tmp_path / 'a.csv'))


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
