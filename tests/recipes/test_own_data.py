"""Files of the user's own in place of a recipe's data."""

import pytest

from ctxlm import plugins
from ctxlm.configs import quickstart_mlm, simcse
from ctxlm.errors import UserError
from ctxlm.recipes import own_data
from tests import tiny


@pytest.mark.parametrize(
  'text, wanted',
  [
    ('books/**/*.txt', {'pattern': 'books/**/*.txt'}),
    ('a.jsonl:body', {'pattern': 'a.jsonl', 'fields': {'text': 'body'}}),
    (
      'text=a.tsv:q, a',
      {'pattern': 'a.tsv', 'fields': {'text_a': 'q', 'text_b': 'a'}},
    ),
    (
      's3:x/a.csv:a,b,c',
      {
        'pattern': 's3:x/a.csv',
        'fields': {'text_a': 'a', 'text_b': 'b', 'negative': 'c'},
      },
    ),
    (
      'a.csv:text=b, label = c.d',
      {'pattern': 'a.csv', 'fields': {'text': 'b', 'label': 'c.d'}},
    ),
    (
      'text=a.csv:label=b',
      {'pattern': 'a.csv', 'fields': {'label': 'b'}},
    ),
    ('a:b/c.txt', {'pattern': 'a:b/c.txt'}),
    ('.', {'pattern': './**/*'}),
    ('x:y[1]', {'pattern': 'x:y[[]1]'}),
  ],
)
def test_data(text, wanted, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'x:y[1]').write_text('text')
  c = quickstart_mlm.get_config().lock()
  assert own_data.with_data(c, text) is c and c.is_locked
  assert c.tasks.text.data.to_dict() == {'name': 'files'} | wanted
  plugins.check('data.sources', c.tasks.text.data)


def test_data_keep_how_text_is_cut():
  c = tiny.get_config('contrastive')
  c.tasks.contrastive.data = {'name': 'corpus', 'unit': 'sentence'}
  data = own_data.with_data(c, 'a.txt').tasks.contrastive.data
  assert data.to_dict() == {
    'name': 'files', 'pattern': 'a.txt', 'unit': 'sentence'
  }  # fmt: skip
  with data.unlocked():
    data.separator, data.fields = 'line', {'text': 'a'}
  data = own_data.with_data(c, 'b.csv').tasks.contrastive.data
  assert data.separator == 'line' and data.fields.text == 'a'
  data = own_data.with_data(c, 'b.csv:c').tasks.contrastive.data
  assert data.fields.to_dict() == {'text': 'c'}
  data = own_data.with_data(c, 'd.csv', whole=True).tasks.contrastive.data
  each = dict.fromkeys(('train', 'validation', 'test'), 'd.csv')
  assert data.split_patterns.to_dict() == each and 'pattern' not in data
  # What the recipe's files are like says nothing of fields that are named.
  with data.unlocked():
    data.columns, data.format, data.split_by = ('a', 'b'), 'tsv', 'a'
  data = own_data.with_data(c, 'b.jsonl:text=c').tasks.contrastive.data
  assert set(data) == {'name', 'pattern', 'fields', 'separator', 'unit'}
  # A pattern for all splits is in place of those of each.
  data = own_data.with_data(simcse.get_config(), 'c.csv').tasks.pairs.data
  assert data.pattern == 'c.csv' and data.fields.text_a == 'sent0'


@pytest.mark.parametrize(
  'text, wanted',
  [
    ('a.txt', 'of which task[?] the tasks are contrastive, mlm: --data con'),
    ('mml=a.txt', 'of which task[?]'),
    ('mlm=a.txt:', 'behind the colon is a field'),
    ('mlm=a.txt:a,b,c,d', 'behind the colon is a field'),
    ('mlm=:a', 'behind the colon is a field'),
    ('mlm=a.csv:text=b,c', 'behind the colon is a field'),
    ('mlm=a.csv:text=b,text=c', 'behind the colon is a field'),
    ('mlm=a.csv:=b', 'behind the colon is a field'),
  ],
)
def test_data_of_which_task(text, wanted):
  c = tiny.get_config('both')
  with pytest.raises(UserError, match=wanted) as e:
    own_data.with_data(c, text)
  assert str(e.value).startswith(f'--data {text}: ')
  own_data.with_data(c, 'mlm=a.txt')
  assert c.tasks.mlm.data.pattern == 'a.txt' != c.tasks.contrastive.data


def test_a_task_has_its_files_at_once():
  c = tiny.get_config('both')
  own_data.with_each(c, ['mlm=a.txt', 'contrastive=b.txt'])
  assert c.tasks.mlm.data.pattern == 'a.txt' != c.tasks.contrastive.data
  with pytest.raises(UserError, match="said twice of the task 'mlm': .*quotes"):
    own_data.with_each(c, ['mlm=a.txt', 'contrastive=b.txt', 'mlm=c.txt'])


def test_pairs_are_not_cut_as_the_recipes_text_is():
  c = tiny.get_config('mlm')
  c.tasks.mlm.data.unit = 'sentence'
  assert own_data.with_data(c, 'a.csv:b').tasks.mlm.data.unit == 'sentence'
  assert 'unit' not in own_data.with_data(c, 'a.csv:b,c').tasks.mlm.data
