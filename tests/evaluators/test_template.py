"""Templates: what is read of a record, and what they say of mistakes."""

import pytest

from ctxlm.errors import UserError
from ctxlm.evaluators import template


def test_a_record_is_filled_in():
  one = template.Template('{{{a|last_word}}} {b|capitalize}: {answer}! {a}')
  assert one.fields == ('a|last_word', 'b|capitalize', 'a') and not one.ends
  record = {'a': 'x y z', 'b': 'o O', 'answer': 'not this'}
  assert one.fill(record) == ('{z} O o: ', '! x y z')
  one = template.Template('{n}{x}{n|without_last_word}{answer}')
  assert one.ends and one.fields == ('n', 'x', 'n|without_last_word')
  assert one.fill({'n': 7, 'x': 0.5}) == ('70.5', '')


def test_texts_are_cleaned_in_order():
  one = template.Template('<{a}>{answer}<>', (('<|>', 'a'), ('a+', 'b')))
  assert one.fill({'a': 'aa<'}) == ('b', 'b')
  assert one.answer(' <x> y|', 'a') == 'bxb y|'
  assert one.answer(' p q ', 'a|last_word') == ''
  assert one.answer(12, 'a') == '12'


@pytest.mark.parametrize(
  'text, wanted',
  [
    ('{text}', 'needs {answer} in one place'),
    ('{answer} {answer}', 'needs {answer} in one place'),
    ('{text|upper} {answer}', "'text|upper' is no field; behind | may stand"),
    ('{|last_word} {answer}', 'is no field'),
    ('{text|} {answer}', 'is no field'),
    ('{} {answer}', 'is no field'),
    ('{answer} {text', 'expected'),
    ('{answer:3}', "'answer' is to have no : and no !"),
    ('{answer} {text!r}', 'is to have no : and no !'),
  ],
)
def test_what_is_no_template(text, wanted):
  with pytest.raises(ValueError) as e:
    template.Template(text).fill({})
  assert wanted in str(e.value) and str(e.value).startswith('template=')


@pytest.mark.parametrize('value', [None, True, ['a'], {'a': 1}])
def test_fields_that_are_no_text(value):
  one = template.Template('{a|last_word} {answer}')
  with pytest.raises(UserError, match=r"its field 'a\|last_word' is no text: "):
    one.fill({'a': value})
  with pytest.raises(UserError, match="it has no field 'a'. It has: 'b'"):
    one.fill({'b': 'x'})


@pytest.mark.parametrize('pair', ['abc', ('(', ''), ('a', 3), ('a', r'\1')])
def test_what_cleans_nothing(pair):
  with pytest.raises(ValueError, match='^clean: .* is no .regular expression'):
    template.check_pairs([('a', 'b'), pair])
