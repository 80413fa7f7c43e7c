"""Prompts: whose ids an option has, and what is left out where room lacks."""

import re
import types

import pytest

from ctxlm.errors import UserError
from ctxlm.evaluators import prompting

SHOTS = ('d e', 'f g h', 'i j')
SHOWN = ['Do', ' it.', ' d', ' e;', ' f', ' g', ' h;', ' i', ' j;']


def encode(text, data=False):
  """Words are ids, each with the space before it."""
  assert data
  return re.findall(r' ?\S+|\s', text)


def prompter(first=('^',), bos='B', instruction='Do it. '):
  tokenizer = types.SimpleNamespace(encode=encode, bos_id=bos)
  frame = types.SimpleNamespace(first=first)
  return prompting.Prompter(tokenizer, frame, '; ', instruction)


def test_a_space_is_of_the_option():
  made = prompter().ask(SHOTS, 'q r ', ('x', 'y z'), None)
  assert made.text == 'Do it. d e; f g h; i j; q r '
  assert made.context == ('^', *SHOWN, ' q', ' r')
  assert made.options == ((' x',), (' y', ' z'))
  assert made.dropped == 0 and not made.cut
  bare = prompter().bare().ask((), 'q r\n\n', ('x',), None)
  assert (bare.context, bare.options) == (
    ('^', 'q', ' r'),
    (('\n', '\n', 'x'),),
  )
  with pytest.raises(UserError, match="option 'x' is no token of its own"):
    prompter().ask((), 'q', ('x',), None)


def test_a_text_begins_with_something():
  made = prompter((), instruction='').ask((), '', ('x',), None)
  assert made.context == ('B',)
  made = prompter(instruction='').ask((), '', ('x',), None)
  assert made.context == ('^',)
  with pytest.raises(UserError, match='no token that begins a text'):
    prompter((), None, '').ask((), '', ('x',), None)


# Of 2 ids an option has one that is not read; 12 come before it.
@pytest.mark.parametrize(
  'room, dropped', [(13, 0), (12, 1), (11, 1), (10, 2), (8, 2), (7, 3), (6, 3)]
)
def test_demonstrations_go_whole_from_the_far_end(room, dropped):
  made = prompter().ask(SHOTS, 'q r ', ('x', 'y z'), room)
  assert (made.dropped, made.cut) == (dropped, False)
  rest = '; '.join([*SHOTS[dropped:], 'q r '])
  assert made.text == f'Do it. {rest}'
  assert made.context == ('^', *encode(made.text.rstrip(), True))


def test_a_query_without_room_loses_its_beginning(capsys):
  made = prompter().ask(SHOTS, 'q r ', ('x', 'y z'), 5)
  assert made.cut and made.dropped == 3
  assert made.context == ('^', ' it.', ' q', ' r')  # and an id of two
  assert made.options == ((' x',), (' y', ' z'))
  prompting.say_cut([made, prompter().ask((), 'q ', 'x', 9), made], 5)
  err = capsys.readouterr().err
  assert '2 prompts are longer than the 5 tokens' in err
  prompting.say_cut([prompter().ask((), 'q ', 'x', 9)], 5)
  assert not capsys.readouterr().err


@pytest.mark.parametrize('room, dropped', [(13, 0), (12, 1), (10, 2)])
def test_whole_queries_are_behind_the_same_demonstrations(room, dropped):
  """Of which the longest has 3 ids to be read, the other 1."""
  made = prompter().whole(SHOTS, ['x q', 'y z w q'], room)
  assert [one.dropped for one in made] == [dropped] * 2
  assert made[0].context == made[1].context
  rest = ''.join(f'{shot}; ' for shot in SHOTS[dropped:])
  assert made[0].text == f'Do it. {rest}'
  assert made[1].options == ((' y', ' z', ' w', ' q'),)


def test_what_is_written_on_has_all_the_room():
  made = prompter().open(SHOTS, 'q r  ', 12)
  assert made.context == ('^', *SHOWN, ' q', ' r') and not made.dropped
  assert prompter().open(SHOTS, 'q r', 11).dropped == 1
  assert prompter().open((), 'q\n', None).context[-1] == '\n'
