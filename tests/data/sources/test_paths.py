"""Fields of nested records, against loops written out."""

import pytest

from ctxlm.data.sources import paths, units
from ctxlm.errors import UserError

BOOK = {
  'title': 'T',
  'a.b': 'dotted',
  'parts': [
    {'name': 'P', 'rows': [{'q': 'x', 'ends': [{'n': 1}, {'n': 2}]}]},
    {'name': 'Q', 'rows': []},
    {'name': 'R', 'rows': [{'q': 'y', 'ends': []}, {'q': 'z', 'ends': []}]},
  ],
}


def leaves(record=BOOK, **fields):
  return list(paths.leaves(record, fields, 'here'))


def test_a_record_of_each_item_with_what_stands_above():
  found = leaves(
    q='parts.*.rows.*.q',
    part='parts.*.name',
    ends='parts.*.rows.*.ends.n',
    title='title',
  )
  assert found == [
    {
      'q': row['q'],
      'part': part['name'],
      'ends': [end['n'] for end in row['ends']],
      'title': 'T',
    }
    for part in BOOK['parts']
    for row in part['rows']
  ]
  assert list(found[0]) == ['q', 'part', 'ends', 'title']


@pytest.mark.parametrize(
  'path, expected',
  [
    ('a.b', 'dotted'),
    ('parts.0.name', 'P'),
    ('parts.name', ['P', 'Q', 'R']),
    ('parts.name.+', 'P Q R'),
    ('parts.rows.0.0.ends.n', [1, 2]),
    ('parts.name.1', 'Q'),
  ],
)
def test_paths_without_a_star_are_one_value(path, expected):
  assert leaves(x=path) == [{'x': expected}]


@pytest.mark.parametrize(
  'path, match',
  [
    ('tilte', "here has no field 'tilte'. It has: 'title', "),
    ('parts.*.nam', r"no field 'nam' in 'parts.\*'. It has: 'name', 'rows'"),
    ('parts.nam', r"no field 'nam' in 'parts.\*'"),
    ('parts.3', "a list of 3 in place of an item 3 at 'parts'"),
    ('title.x', "a text in place of an object with 'x' at 'title'"),
    ('title.*', r"no list where '\*' of 'title.\*' stands, but a text"),
    ('parts.*.name.*', r"'parts.\*.name.\*' stands, but a text"),
    ('parts.0.*', 'stands, but an object'),
    ('parts.rows.q', "a list in place of an object with 'q'"),
    ('parts.+', "an object among the texts of 'parts'"),
  ],
)
def test_mistakes_are_one_line(path, match):
  with pytest.raises(UserError, match=match) as e:
    leaves(x=path)
  assert '\n' not in str(e.value)


def test_names_of_strangers_are_short():
  record = {f'{i}\n' * 1000: i for i in range(5000)}
  with pytest.raises(UserError, match='and 4990 more') as e:
    leaves(record, x='5')
  assert '\n' not in str(e.value) and len(str(e.value)) < 600


@pytest.mark.parametrize(
  'fields, match',
  [
    ({'a': 'x.*.y', 'b': 'z.*'}, r'lists x.\* and z.\* are not one in the'),
    ({'a': 'x.*.y.*', 'b': 'x.*.z.*.w'}, 'are not one in the other'),
    ({'a': 3}, "'a' must name a field, not 3"),
  ],
)
def test_lists_beside_each_other_are_refused(fields, match):
  with pytest.raises(ValueError, match=match):
    paths.check(fields)


def test_any_source_has_them():
  rows = [{'d': {'t': 'a', 'l': [1, 2]}}, {'d': {'t': 'b', 'l': [3]}}]
  flat = units.choose(rows, {'text': 'd.t'}, 'document', 'flat')
  assert [flat[i] for i in range(2)] == [{'text': 'a'}, {'text': 'b'}]
  fields = {'text': 'd.t', 'label': 'd.l.*'}
  deep = units.choose(rows, fields, 'document', 'deep')
  assert [tuple(deep[i].values()) for i in range(len(deep))] == [
    ('a', 1), ('a', 2), ('b', 3)
  ]  # fmt: skip


@pytest.mark.parametrize('value', [['a', 'b'], 3, None, {'x': 'a'}])
def test_what_an_objective_reads_is_text(value):
  record = {'text_a': 'a', 'text_b': value}
  assert units.read(record | {'text_b': ''}, ['text_a', 'text_b'], {})
  with pytest.raises(UserError, match="'text_b' of a record is no text but"):
    units.read(record, ['text_a', 'text_b'], {})
