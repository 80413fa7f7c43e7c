"""`ctxlm generate` and `ctxlm chat`: files, talks and mistakes."""

import json
import sys

import jax
import numpy as np
import pytest

from ctxlm import decoding
from ctxlm.commands import chat
from ctxlm.data import dialogues
from ctxlm.inference import writing
from ctxlm.training import loop, run_folder
from tests import tiny


@pytest.fixture(scope='module')
def run(text, tmp_path_factory):
  """A finished run of a causal model."""
  folder = tmp_path_factory.mktemp('run') / 'run'
  tiny.train(folder, 'config.num_steps=4', 'config.evaluators={}')
  return folder


def call(verb, *flags, tmp_path, devices=1):
  """Returns (status, output, errors) of a command."""
  errors = tmp_path / 'errors'
  argv = [sys.executable, '-m', 'ctxlm', verb, *flags]
  process = tiny.fork(argv, devices, errors, haste=True)
  process.join(300)
  out = (tmp_path / 'errors.out').read_text()
  return process.exitcode, out, errors.read_text()


def config(**options):
  c = decoding.base()
  c.max_new_tokens = 6
  c.update(options)
  return c


def write_prompts(path, count=7):
  rows = [{'prompt': 'the cat ' * (1 + i % 3), 'id': i} for i in range(count)]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return rows


def test_prompt_is_answered(run, tmp_path):
  flags = (f'--model={run}', '--prompt=the cat', '--strategy=greedy')
  status, out, err = call(
    'generate', *flags, '--max_new_tokens=5', tmp_path=tmp_path
  )
  assert status == 0, err
  generator, encode = writing.open_generator(
    run, config(strategy={'name': 'greedy'}, max_new_tokens=5)
  )
  [[one]] = generator([encode('the cat')])
  assert out == generator.tokenizer.decode(one['tokens']) + '\n'
  assert encode('the cat')[0] == generator.tokenizer.bos_id


@pytest.mark.parametrize('most', [24, 25])
def test_more_than_the_model_sees_is_said(run, capsys, most):
  writing.open_generator(run, config(max_new_tokens=most))
  said = 'the model sees 24 tokens: a text ends there'
  assert (said in capsys.readouterr().err) == (most > 24)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['recurrent', 'convolution'])
def test_models_of_states_write_too(text, tmp_path, name):
  c = tiny.get_config()
  c.num_steps, c.checkpoint.every_steps = 6, 0
  c.model.name, c.model.num_layers = name, 2
  loop.train(c, tmp_path / 'run')
  flags = ('--strategy=greedy', '--max_new_tokens=9', '--prompt=the cat')
  status, out, err = call(
    'generate', f'--model={tmp_path}/run', *flags, tmp_path=tmp_path
  )
  assert status == 0, err
  run = run_folder.load(tmp_path / 'run')
  t = run.tokenizer
  row = [t.bos_id, *t.encode('the cat')]
  forward = jax.jit(
    lambda tokens: run.model.apply(
      {'params': run.params}, tokens, method=lambda m, x: m.logits(m(x))
    )
  )
  new = []
  while len(new) < 9 and t.eos_id not in new:
    text = [*row, *new]
    whole = np.array([text + [0] * (24 - len(text))])
    new.append(int(forward(whole)[0, len(text) - 1].argmax()))
  assert out == t.decode(new) + '\n'


@pytest.mark.slow
def test_the_same_file_on_one_device_and_on_four(run, tmp_path):
  write_prompts(tmp_path / 'in.jsonl')
  files = []
  for devices, more in ((1, ()), (4, ()), (4, ('--tensor=2',))):
    out = tmp_path / f'{devices}{len(more)}.jsonl'
    status, _, err = call(
      'generate',
      f'--model={run}',
      f'--input={tmp_path}/in.jsonl',
      f'--output={out}',
      '--max_new_tokens=5',
      '--batch_size=4',
      '--seed=3',
      '--top_p=0.9',
      *more,
      tmp_path=tmp_path,
      devices=devices,
    )
    assert status == 0, err
    assert '7/7' in err and 'left' in err  # progress, as plain lines
    files.append(out.read_bytes())
  assert files[0] == files[1] == files[2]


def test_a_talk_keeps_what_was_said(run, capsys):
  generator, encode = writing.open_generator(
    run, config(strategy={'name': 'greedy'}, max_new_tokens=3), turns=True
  )
  t, prompts = generator.tokenizer, []

  def stream(prompt, first):
    prompts.append(prompt)
    yield t.encode('yes') + [t.eos_id]

  generator.stream, kept = stream, []
  lines = ['the cat\n', '\n', 'a ' * 200, 'dog\n']
  chat.talk(generator, encode, [], lines, kept.append)
  out, err = capsys.readouterr()
  assert out == 'yes\nyes\n' and 'there is room for 22' in err
  said = dialogues.alternating(['the cat', 'yes', 'dog', 'yes'])
  assert kept == [said[:i] for i in range(1, 5)]
  cat, dog, yes = (t.encode(w) for w in ('the cat', 'dog', 'yes'))
  end = [t.eos_id]
  assert prompts == [
    cat + end,
    cat + end + yes + end + dog + end,
  ]
  chat.talk(generator, encode, said[:3], [], kept.append)  # as it was stopped
  assert kept[4:] == [said[:3], said] and prompts[2] == prompts[1]


MISTAKES = [
  (['--prompt='], 'the prompt is empty'),
  (['--prompt=' + 'the cat ' * 40], 'tokens; the model sees 24'),
  (['--prompt=a', '--temperature=0'], 'must be more than 0'),
  (['--prompt=a', '--temperature=-1'], 'must be more than 0'),
  (['--prompt=a', '--processor=forced:first=(7,9999)'], 'no token 9999'),
  (
    ['--prompt=a', '--processor=forced:first=["<|nope|>"]'],
    "no token '<|nope|>'",
  ),
  (
    ['--prompt=a', r'--processor=constrained:pattern="[^\\s\\S]"'],
    'no text matches it',
  ),
  (['--prompt=a', '--strategy=bean'], "Did you mean 'beam'"),
  (['--prompt=a', '--strategy=beam:beams=3'], "Did you mean 'num_beams'"),
  (['--prompt=a', '--strategy=greedy', '--num_samples=2'], 'draws nothing'),
  (['--input=/none.jsonl', '--output=/tmp/x.jsonl'], '/none.jsonl'),
  (['--prompt=a', '--input=b'], 'give --prompt, or --input'),
  (['--prompt=a', '--tensor=2'], 'must divide the 1 devices'),
  (['--prompt=a', '--model=/none'], '/none'),
]


@pytest.mark.parametrize('flags, wanted', MISTAKES, ids=lambda x: str(x)[-40:])
def test_mistakes_are_one_line(run, tmp_path, flags, wanted):
  status, out, err = call(
    'generate', f'--model={run}', *flags, tmp_path=tmp_path
  )
  assert status == 2 and out == ''
  assert err.startswith('ctxlm generate: ') and err.count('\n') == 1, err
  assert wanted in err and len(err) < 400
