"""Turns to ids: by hand, and by transformers' own rendering of templates."""

from pathlib import Path

import numpy as np
import pytest
import transformers as tr

from ctxlm.data import dialogues
from ctxlm.data.tokenizers import chat_template, renderer
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.errors import UserError

CHATML = (
  "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
  "{{ m['content'] + '<|im_end|>' + '\n' }}{% endfor %}\n"
  "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TAGGED = (
  "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'assistant' %}\n"
  'A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}'
  '{% else %}{{ m.role | upper }}: {{ m.content | trim }} {% endif %}'
  '{% endfor %}{% if add_generation_prompt %}A:{% endif %}'
)
TURNS = [
  {'role': 'system', 'content': 'be kind'},
  {'role': 'user', 'content': 'a cat?'},
  {'role': 'assistant', 'content': 'the cat sees'},
  {'role': 'user', 'content': 'a dog'},
  {'role': 'assistant', 'content': 'the dog likes <b>'},
]


def turns_of(*texts):
  return dialogues.alternating(texts)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A tokenizer's folder that both libraries read."""
  folder = tmp_path_factory.mktemp('tokenizer')
  texts = ['the cat sees a dog. be kind, A: USER: SYSTEM: likes <b>?'] * 9
  t = tokenizer_lib.train('bpe', 320, texts)
  t._backend.add_special_tokens(['<|im_start|>', '<|im_end|>'])
  t.save(folder)
  tr.PreTrainedTokenizerFast(
    tokenizer_file=str(folder / 'tokenizer.json'),
    bos_token='[CLS]',
    eos_token='<|endoftext|>',
  ).save_pretrained(folder)
  return folder


def both(folder, template):
  """Returns (ours, theirs), with a template beside them."""
  (folder / chat_template.FILE).write_text(template)
  ours = tokenizer_lib.load(folder)
  return ours, tr.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize('template', [CHATML, TAGGED])
def test_rendered_as_transformers_does(folder, template):
  ours, theirs = both(folder, template)
  join = dialogues.of(ours)
  want = theirs.apply_chat_template(
    TURNS,
    return_dict=True,
    return_assistant_tokens_mask=template == TAGGED,
  )
  ids, marks = join.whole(TURNS, [2, 4])
  assert ids == want['input_ids']
  if template == TAGGED:
    assert [*map(int, marks)] == want['assistant_masks']
  prompt = theirs.apply_chat_template(
    TURNS[:4], add_generation_prompt=True, return_dict=False
  )
  assert join.prompt(TURNS[:4]) == prompt
  if template == CHATML:
    begun = theirs.apply_chat_template(
      TURNS[:3], continue_final_message=True, return_dict=False
    )
    assert join.prompt(TURNS[:3], goes_on=True) == begun
    assert ours.decode(begun).endswith('the cat sees')
  if template == CHATML:  # an answer is what follows the prompt
    before, answer = join.answered(TURNS)
    assert before == prompt and before + answer == ids
    said = ours.decode(np.array(ids)[marks].tolist(), skip_special=False)
    assert said == 'the cat sees<|im_end|>\nthe dog likes <b><|im_end|>\n'
    end = ours._backend.token_to_id('<|im_end|>')
    assert join.ends == (ours.eos_id, end)
  assert tokenizer_lib.load(folder).chat_template == template
  ours.save(folder / 'again')
  assert tokenizer_lib.load(folder / 'again').chat_template == template


def test_the_oldest_turns_go_and_the_system_stays(folder):
  ours, _ = both(folder, CHATML)
  join = dialogues.of(ours)
  short, whole = join.prompt([TURNS[0], TURNS[3]]), join.prompt(TURNS[:4])
  assert join.prompt(TURNS[:4], len(whole)) == whole
  assert join.prompt(TURNS[:4], len(short)) == short
  assert len(join.prompt(TURNS[:4], len(short) + 1)) == len(short)
  with pytest.raises(dialogues.NoRoom, match='the newest turns have more than'):
    join.prompt(TURNS[:4], len(short) - 1)
  # Also where the first one is the assistant's, who greets.
  alone = join.prompt(TURNS[3:4])
  assert join.prompt(TURNS[2:4], len(alone)) == alone
  before, answer = join.answered(TURNS, len(short) + 20)
  assert before == short and len(before + answer) <= len(short) + 20
  ids, marks = join.whole(TURNS, [2, 4])
  assert join.whole(TURNS, [2, 4], len(ids)) == (ids, marks)
  assert join.whole(TURNS, [2, 4], len(ids) - 1) is None


def test_older_answers_that_a_template_leaves_out_are_not_learned(folder):
  """Each is then a row of its own, with what the model is shown there."""
  ours, _ = both(
    folder,
    '{% for m in messages %}{{ m.role }}|'
    "{% if m.role != 'assistant' or loop.last %}{{ m.content }}{% endif %}"
    '{% endfor %}{% if add_generation_prompt %}assistant|{% endif %}',
  )
  join = dialogues.of(ours)
  assert join.whole(TURNS, [2, 4]) is None
  ids, marks = join.whole(TURNS, [4])
  before, answer = join.answered(TURNS)
  assert ids == before + answer and sum(marks) == len(answer)


def test_turns_end_where_no_template_is(tokenizer):
  join = dialogues.Ended(tokenizer)
  turns = turns_of('5 6', '7', '8 9 10', '11')
  whole = [5, 6, 4, 7, 4, 8, 9, 10, 4, 11, 4]
  for room, want in (
    (None, whole),
    (11, whole),
    (10, whole[3:]),
    (7, whole[5:]),
    (2, [11, 4]),
  ):
    assert join.prompt(turns, room) == want
  with pytest.raises(dialogues.NoRoom, match='2 tokens; there is room for 1'):
    join.prompt(turns, 1)
  assert join.prompt(turns, 7, goes_on=True) == whole[3:-1]
  assert join.answered(turns, 7) == ([8, 9, 10, 4], [11, 4])
  with pytest.raises(dialogues.NoRoom, match='an answer has 2 tokens'):
    join.answered(turns, 2)
  assert join.answered(turns[-1:]) == ([4], [11, 4])  # of a text's beginning
  ids, marks = join.whole(turns, [1, 3], 11)
  assert ids == whole
  assert np.flatnonzero(marks).tolist() == [3, 4, 9, 10]
  assert join.whole(turns, [1, 3], 10) is None and join.ends == (4,)


def test_who_answers():
  plain = turns_of('a', 'b', 'c', 'd', 'e')
  for speaker, want in (
    ('', [1, 2, 3, 4]),
    ('all', [1, 2, 3, 4]),
    ('assistant', [1, 3]),
    ('user', [2, 4]),
  ):
    assert dialogues.answers(plain, False, speaker) == want
  assert dialogues.answers(TURNS, True) == [2, 4]
  assert dialogues.answers(TURNS, True, 'user') == [1, 3]
  assert dialogues.answers([*TURNS, TURNS[0]], True, 'all') == [1, 2, 3, 4]
  assert dialogues.recent(TURNS[:4], 1) == [TURNS[0], TURNS[3]]
  assert dialogues.recent(TURNS[:4], 0) == TURNS[:1]
  assert dialogues.recent(TURNS[:4], None) == TURNS[:4]


def test_records():
  want = [
    {'role': 'assistant', 'content': 'a'},
    {'role': 'user', 'content': 'b'},
    {'role': 'assistant', 'content': 'c'},
  ]
  assert dialogues.messages({'turns': ['a', 'b', 'c']}) == (want, False)
  assert dialogues.messages({'messages': want, 'text': 'x'}) == (want, True)
  pair = {'text_a': 'b', 'text_b': 'c'}
  assert dialogues.messages(pair) == (want[1:], False)


@pytest.mark.parametrize(
  'record, wanted',
  [
    ({'body': 'x'}, "is 'messages' or 'turns', and the data has body"),
    ({'turns': 'a b'}, "'turns' is no list of turns: 'a b'"),
    ({'turns': []}, "'turns' is no list of turns"),
    ({'turns': ['a', 3]}, 'turn 2 is no text: 3'),
    (
      {'messages': [{'role': 'user', 'content': None}]},
      'turn 1 is no text: None',
    ),
    ({'messages': ['a']}, "turn 1 is no object with 'role' and 'content'"),
    (
      {'messages': [{'role': 'bot', 'content': 'x'}]},
      "turn 1 has the role 'bot'; roles are system, user, assistant",
    ),
    ({'turns': ['a']}, 'needs two turns or more; it has 1'),
    (
      {'messages': [{'role': 'user', 'content': 'x'}] * 2},
      "no turn after the first is of 'assistant'",
    ),
  ],
)
def test_mistakes_of_records(record, wanted):
  with pytest.raises(UserError, match=wanted):
    dialogues.answers(*dialogues.messages(record))


FAILS = [
  ("{{ raise_exception('no system') }}", 'TemplateError: no system'),
  ('{% for x %}', 'TemplateSyntaxError'),
  ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
  ('{{ messages.append(1) }}', "access to attribute 'append'"),
  ("{% include '/etc/passwd' %}", 'no loader'),
  ('{{ nobody.name }}', "'nobody' is undefined"),
  ('{% set n = namespace() %}{% set n.__call__ = 1 %}', "no '__call__'"),
  ("{{ namespace({'_x': 1}) }}", "no '_x'"),
  ('{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', 'recursion'),
]


@pytest.mark.parametrize('source, wanted', FAILS)
def test_templates_of_strangers_fail_in_a_line(source, wanted):
  template = chat_template.Template(source, {})
  with pytest.raises(UserError, match=wanted) as e:
    template([{'role': 'user', 'content': 'hi'}])
  assert str(e.value).startswith('the chat template fails: ')


def test_a_turn_that_goes_on_ends_as_the_template_has_it(folder):
  talk = turns_of('a', 'the cat ')
  for end, text in (('', 'the cat '), (' | trim', 'the cat')):
    ours, _ = both(folder, '{{ messages[-1].content' + end + ' }}')
    found = dialogues.of(ours).prompt(talk, goes_on=True)
    assert found == ours.encode(text)
  ours, _ = both(folder, '{{ messages[-1].content | lower }}')
  with pytest.raises(UserError, match='does not give the last turn as it is'):
    dialogues.of(ours).prompt(TURNS[:3], goes_on=True)


@pytest.mark.parametrize(
  'behind, name', [(' <|im_end|>', '<|im_end|>'), (' be kind', None)]
)
def test_ids_that_end_an_answer(folder, behind, name):
  ours, _ = both(folder, '{{ messages[-1].content }}' + behind)
  own = [] if name is None else [ours._backend.token_to_id(name)]
  assert dialogues.of(ours).ends == (ours.eos_id, *own)


def test_what_a_template_is_given():
  given = '{{ tools is none and documents is none }}{{ a }}{{ x is defined }}'
  own = "{% set n = namespace(c=1, b='b') %}{% set n.c = 2 %}{{ n.b ~ n.c }}"
  template = chat_template.Template(given + own, {'a': 'A'})
  assert template([])[0] == 'TrueAFalseb2'


def test_templates_without_end_are_ended(monkeypatch, tmp_path):
  limits = tmp_path / 'renderer.py'
  source = Path(renderer.__file__).read_text()
  source = source.replace('SECONDS = 10.0', 'SECONDS = 1.0')
  limits.write_text(source.replace('MEMORY = 2**30', 'MEMORY = 2**28'))
  monkeypatch.setattr(renderer, '__file__', str(limits))
  loop = '{% for i in range(99999) %}{% for j in range(99999) %}'
  large = "{% set s = namespace(a='a') %}{% for i in range(60) %}"
  for source in (
    loop + '{% endfor %}' * 2,
    large + '{% set s.a = s.a ~ s.a %}{% endfor %}',
    "{{ 'a' * 10000000000 }}",
  ):
    with pytest.raises(UserError, match='takes more than|MemoryError'):
      chat_template.Template(source, {})([])
  again = chat_template.Template("{{ messages[0] if messages else '' }}", {})
  assert again(['x']) == ('x', [])


def test_mistakes_of_templates(folder, tokenizer):
  ours, _ = both(folder, CHATML.replace("'assistant\n'", "'bot\n'"))
  with pytest.raises(UserError, match='put {% generation %}'):
    dialogues.of(
      both(folder, CHATML.replace('assistant\n', 'bot\n'))[0]
    ).answered(TURNS)
  joined = '{% for m in messages %}{{ m.content }}{% endfor %}'
  with pytest.raises(UserError, match='put {% generation %}'):
    # Its first id would be of both.
    dialogues.of(both(folder, joined)[0]).answered(turns_of('the c', 'at'))
  with pytest.raises(UserError, match="the model answers as 'assistant'"):
    dialogues.of(ours).answered(TURNS[:4])
  ours.chat_template = None
  with pytest.raises(UserError, match='has no chat template: put chat_templ'):
    dialogues.of(ours, template=True).prompt(TURNS)
  assert isinstance(dialogues.of(ours), dialogues.Ended)


@pytest.mark.parametrize(
  'content, wanted',
  [
    ('{"chat_template": 3}', 'chat_template is no text'),
    ('{"chat_template": [{"name": "x", "template": "a"}]}', None),
    ('{"chat_template": [{"name": "default", "template": "a"}]}', 'a'),
    ('{"chat_template": "b"}', 'b'),
  ],
)
def test_where_templates_stand(tmp_path, content, wanted):
  (tmp_path / 'tokenizer_config.json').write_text(content)
  if wanted is not None and len(wanted) > 1:
    with pytest.raises(UserError, match=wanted):
      chat_template.read(tmp_path)
  else:
    assert chat_template.read(tmp_path) == wanted
    (tmp_path / chat_template.FILE).write_text('c')
    assert chat_template.read(tmp_path / 'tokenizer.json') == 'c'
