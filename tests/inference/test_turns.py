"""Dialogues of a model with a chat template: prompts, ends, files of one."""

import contextlib
import copy
import dataclasses
import io
import json
import shutil

import pytest

from ctxlm import cli, decoding
from ctxlm.data import dialogues
from ctxlm.data.tokenizers import chat_template
from ctxlm.decoding import generator as generator_lib
from ctxlm.errors import UserError
from ctxlm.inference import language_model, prompts, turns, writing

TEMPLATE = (
  "{% for m in messages %}{{ m['role'][0] }}{{ m['content'] }}[SEP]"
  '{% endfor %}{% if add_generation_prompt %}a{% endif %}'
)


def chat_of(*texts, system=None):
  first = [] if system is None else [{'role': 'system', 'content': system}]
  return first + [
    {'role': dialogues.ROLES[1 + i % 2], 'content': text}
    for i, text in enumerate(texts)
  ]


@pytest.fixture(scope='module')
def model(loaded):
  """A loading.Loaded whose tokenizer has a chat template."""
  tokenizer = copy.copy(loaded['causal'].tokenizer)
  tokenizer.chat_template = TEMPLATE
  return dataclasses.replace(loaded['causal'], tokenizer=tokenizer)


@pytest.fixture(scope='module')
def opened(model):
  """(Generator, encode)."""
  c = decoding.base()
  c.update(max_new_tokens=4, strategy={'name': 'greedy'})
  return writing.generator_of(model, c, turns=True)


def test_the_oldest_turns_go_by_pairs_and_that_is_said_once(opened, capsys):
  """The longest of the endings, of those that begin with a user, that fits."""
  generator, encode = opened
  t, room = generator.tokenizer, 24 - 4 + 1
  talk = chat_of('the', 'a cat', 'a', 'the cat', 'sees', 'a', 'dog', system='b')
  for end in (2, 4, 6, 8):
    whole = talk[:end]
    texts = (
      ''.join(f'{m["role"][0]}{m["content"]}[SEP]' for m in [whole[0], *rest])
      for rest in (whole[i:] for i in range(1, end, 2))
    )
    ids = (t.encode(text + 'a') for text in texts)
    assert encode(whole) == next(row for row in ids if len(row) <= room)
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'the oldest turns are left out' in err
  assert 'max_new_tokens=4 the model sees 24' in err
  with pytest.raises(UserError, match='newest turns have more than 21 tokens'):
    encode(chat_of('the cat ' * 9))


def test_the_end_of_a_turn_ends_an_answer(model):
  c, t = decoding.base(), model.tokenizer
  for given, ends in ((True, (t.eos_id, t.sep_id)), (False, (t.eos_id,))):
    generator, _ = writing.generator_of(model, c, turns=given)
    assert generator.rules.eos_ids == ends


def echo(generator, given, *_):
  # Writes each prompt again, so that nothing is compiled.
  return [[{'tokens': ids}] for ids in given]


def test_lines_of_prompts_and_of_messages(opened, tmp_path, monkeypatch):
  generator, encode = opened
  rows = [
    {'messages': chat_of('the cat'), 'id': 7},
    {'prompt': 'the dog sees'},
    {'messages': chat_of('a', 'b', 'c', system=''), 'id': 8},
    {'messages': chat_of('a', 'the')},
  ]
  path, out = tmp_path / 'in.jsonl', tmp_path / 'out.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  assert prompts.read(path) == rows
  monkeypatch.setattr(type(generator), '__call__', echo)
  prompts.write_all(generator, encode, rows, out, 3, {})
  found = [json.loads(line) for line in out.read_text().splitlines()]
  texts = ['uthe cata', 'the dog sees', 'suaabuca', 'uaathe']
  want = [
    row | {'texts': [text]} for row, text in zip(rows, texts, strict=True)
  ]
  assert found == want
  assert prompts.outputs.begin(out, {}, rows, prompts.asked, 'prompt') == 4


@pytest.mark.parametrize(
  'line, wanted',
  [
    ('{"messages": "hi"}', 'or a list "messages"'),
    ('{"messages": {"role": "user"}}', "'messages' is no list of turns"),
    ('{"messages": []}', 'is no list of turns'),
    ('{"messages": ["hi"]}', "turn 1 is no object with 'role'"),
    ('{"messages": [{"role": "bot", "content": "a"}]}', "the role 'bot'"),
    ('{"messages": [{"role": "user", "content": 3}]}', 'turn 1 is no text: 3'),
    ('{"messages": [{"role": "user", "content": " "}]}', 'turn 1 is empty'),
    ('{"messages": [{"role": "system", "content": "a"}]}', "1 is the system's"),
    ('{"prompt": "a", "messages": []}', 'not an object with a text "prompt"'),
    ('{"prompt": ["a"]}', 'not an object with a text "prompt"'),
    ('["prompt"]', 'not an object'),
    ('"prompt"', 'not an object'),
  ],
)
def test_lines_that_are_no_dialogue(opened, tmp_path, line, wanted):
  path = tmp_path / 'in.jsonl'
  path.write_text('{"prompt": "the cat"}\n' + line + '\n')
  with pytest.raises(UserError, match=f'line 2: .*{wanted}'):
    prompts.write_all(
      *opened, prompts.read(path), tmp_path / 'out.jsonl', 2, {}
    )


def test_dialogues_from_python(model, monkeypatch):
  lm = language_model.LanguageModel(model)
  monkeypatch.setattr(generator_lib.Generator, '__call__', echo)
  talk, texts = chat_of('a cat', 'the', 'dog', system='b'), ['a', 'the', 'dog']
  both, most = ['sbua catatheudoga', 'uaatheudoga'], {'max_new_tokens': 3}
  assert lm.chat(talk, **most) == both[0] and lm.chat(texts, **most) == both[1]
  assert lm.chat([talk, texts], **most) == both and lm.chat('dog') == 'udoga'
  assert lm.chat(talk[:3], **most) == 'sbua catathe'  # goes on
  for wrong in ([], '', [[]]):
    with pytest.raises(UserError, match='no list of turns|is empty'):
      lm.chat(wrong)


def test_a_folder_without_a_template_has_no_systems(loaded, model, capsys):
  plain = loaded['causal'].tokenizer
  base = dataclasses.replace(model, tokenizer=plain, run=None)
  _, encode = writing.generator_of(base, decoding.base(), turns=True)
  assert 'has no chat template: a turn ends with <|endoftext|>' in (
    capsys.readouterr().err
  )
  with pytest.raises(UserError, match='put chat_template.jinja into the mod'):
    encode(chat_of('a', system='b'))


def test_a_file_keeps_a_dialogue(tmp_path):
  path, talk = tmp_path / 'talk.jsonl', chat_of('a', '', 'c\n\u2028', 'd')
  with contextlib.closing(turns.Kept(path)) as kept:
    assert kept.turns == [] and not path.exists()
    for i in range(1, 5):
      kept.keep(talk[:i])
      assert prompts.read(path) == [{'messages': talk[:i]}]
    with pytest.raises(UserError, match='writes talk.jsonl there'):
      turns.Kept(path)
  assert list(tmp_path.iterdir()) == [path]
  path.write_text(json.dumps({'id': 3, 'messages': talk}))
  with contextlib.closing(turns.Kept(path)) as kept:
    assert kept.turns == talk
    kept.keep([*kept.turns, *chat_of('e')])
  (row,) = prompts.read(path)
  assert row == {'id': 3, 'messages': [*talk, *chat_of('e')]}


@pytest.mark.parametrize(
  'content, wanted',
  [
    ('', r'one line \{"messages": \[...\]\}'),
    ('{"messages": []}', 'no list of turns'),
    ('{"messages": [{"role": "bot", "content": ""}]}', "the role 'bot'"),
    ('{"prompt": "a"}', 'one line'),
    ('[]', 'one line'),
    ('{"messages": [{"role": "user", "content": "a"}]}\n' * 2, 'one line'),
    ('\xff', 'UTF-8'),
  ],
)
def test_files_that_hold_no_dialogue(tmp_path, content, wanted):
  path = tmp_path / 'talk.jsonl'
  path.write_bytes(content.encode('latin-1'))
  with pytest.raises(UserError, match=wanted):
    turns.Kept(path)
  assert path.read_bytes() == content.encode('latin-1')
  for wrong in (tmp_path / 'none' / 'a.jsonl', tmp_path / 'a.txt'):
    with pytest.raises(UserError, match='--save .*: name a FILE.jsonl in'):
      turns.Kept(wrong)
  assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope='module')
def folder(runs, tmp_path_factory):
  """A run folder whose tokenizer has a chat template."""
  folder = tmp_path_factory.mktemp('chat') / 'run'
  shutil.copytree(runs['causal'].workdir, folder)
  (folder / 'tokenizer' / chat_template.FILE).write_text(TEMPLATE)
  return folder


def chat(folder, said, monkeypatch, *flags):
  monkeypatch.setattr('sys.stdin', io.StringIO(said))
  with pytest.raises(SystemExit) as end:
    cli.main(['ctxlm', 'chat', f'--model={folder}', *flags])
  return end.value.code


def test_the_command_keeps_and_goes_on(folder, tmp_path, monkeypatch, capsys):
  path = tmp_path / 'talk.jsonl'
  flags = '--system=b', f'--save={path}', '--max_new_tokens=3', '--seed=1'
  answers = []
  for said in ('the cat', 'a'):
    assert not chat(folder, f'{said}\n', monkeypatch, *flags)
    answers += [said, capsys.readouterr().out.removesuffix('\n')]
  (row,) = prompts.read(path)
  assert row == {'messages': chat_of(*answers, system='b')}
  before = path.read_bytes()
  assert chat(folder, 'a\n', monkeypatch, '--system=c', flags[1]) == 2
  assert '--system is not how' in capsys.readouterr().err
  assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


TEMPLATES = [
  ('{% for x %}', 'TemplateSyntaxError'),
  ('{{ nobody.name }}', "'nobody' is undefined"),
  ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}"
   '{% endif %}', 'TemplateError: no system'),
  ('{{ bos_token[:0] }}', 'the prompt is empty'),
  ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
]  # fmt: skip


@pytest.mark.parametrize('template, wanted', TEMPLATES)
def test_templates_that_fail(model, template, wanted):
  tokenizer = copy.copy(model.tokenizer)
  tokenizer.chat_template = template
  own = dataclasses.replace(model, tokenizer=tokenizer)
  with pytest.raises(UserError, match=wanted):
    _, encode = writing.generator_of(own, decoding.base(), turns=True)
    encode(chat_of('a', system='b'))


def test_a_template_that_fails_is_one_line(
  folder, tmp_path, monkeypatch, capsys
):
  own = tmp_path / 'run'
  shutil.copytree(folder, own)
  template, wanted = TEMPLATES[2]
  (own / 'tokenizer' / chat_template.FILE).write_text(template)
  path = tmp_path / 'talk.jsonl'
  flags = '--system=b', f'--save={path}', '--max_new_tokens=4'
  assert chat(own, 'a\n', monkeypatch, *flags) == 2
  err = capsys.readouterr().err
  assert err.startswith('ctxlm chat: the ')
  assert wanted in err and err.count('\n') == 1 and not path.exists()
