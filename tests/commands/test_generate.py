"""`ctxlm generate` and `ctxlm chat`: files, talks and mistakes."""

import json
import sys

import jax
import numpy as np
import pytest

from ctxlm import cli, decoding
from ctxlm.commands import chat
from ctxlm.data import dialogues
from ctxlm.decoding import build
from ctxlm.inference import writing
from ctxlm.training import checkpoint, loop, run_folder
from tests import tiny


@pytest.fixture
def run(runs):
  """A finished run of a causal model."""
  return runs['causal'].workdir


def call(capsys, *words):
  """Returns (status, output, errors) of a command, in this process."""
  with pytest.raises(SystemExit) as e:
    cli.main(['ctxlm', *words])
  return e.value.code, *capsys.readouterr()


def config(**options):
  c = decoding.base()
  c.max_new_tokens = 6
  c.update(options)
  return c


def write_prompts(path, count=7):
  rows = [{'prompt': 'the cat ' * (1 + i % 3), 'id': i} for i in range(count)]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return rows


def test_a_file_is_of_one_step(run, tmp_path, capsys):
  write_prompts(tmp_path / 'in.jsonl', 1)
  flags = [f'--model={run}', f'--input={tmp_path}/in.jsonl']
  flags += [f'--output={tmp_path}/out.jsonl', '--max_new_tokens=2']
  assert call(capsys, 'generate', *flags)[0] == 0
  newest = checkpoint.steps(run)[-1]
  path = tmp_path / 'out.jsonl.settings.json'
  assert json.loads(path.read_text())['step'] == newest
  # The same step by its number goes on, and another one doesn't.
  whole = (tmp_path / 'out.jsonl').read_bytes()
  assert call(capsys, 'generate', *flags, f'--step={newest}')[0] == 0
  path.write_text(path.read_text().replace(f'"step": {newest}', '"step": 1'))
  status, _, err = call(capsys, 'generate', *flags)
  assert status == 2 and 'written with other settings' in err
  assert (tmp_path / 'out.jsonl').read_bytes() == whole


def test_a_stop_is_one_text_or_several():
  assert build.config_of({'stop': 'city'}).stop == ('city',)
  assert build.config_of({'stop': ('a', 'b')}).stop == ('a', 'b')


def test_prompt_is_answered(run, capsys):
  flags = (f'--model={run}', '--prompt=the cat', '--strategy=greedy')
  status, out, err = call(capsys, 'generate', *flags, '--max_new_tokens=5')
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
def test_models_of_states_write_too(text, tmp_path, capsys, name):
  c = tiny.get_config()
  c.num_steps = 0
  c.model.name, c.model.init_stddev = name, 0.5
  loop.train(c, tmp_path / 'run')
  capsys.readouterr()
  # No token twice, as drawn models repeat one.
  flags = ('--strategy=greedy', '--processor=no_repeat_ngram:1')
  flags += ('--max_new_tokens=9', '--prompt=the cat')
  status, out, err = call(capsys, 'generate', f'--model={tmp_path}/run', *flags)
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
    logits = np.array(forward(whole)[0, len(text) - 1])
    logits[text] = -np.inf
    new.append(int(logits.argmax()))
  assert len(new) > 3 and out == t.decode(new) + '\n'


@pytest.mark.slow
def test_the_same_file_on_one_device_and_on_eight(run, tmp_path, capsys):
  write_prompts(tmp_path / 'in.jsonl')
  flags = (
    f'--model={run}',
    f'--input={tmp_path}/in.jsonl',
    '--max_new_tokens=5',
    '--seed=3',
    '--top_p=0.9',
  )
  # One device has a process of its own, whose output is what a user's is.
  argv = [sys.executable, '-m', 'ctxlm', 'generate', *flags]
  argv += [f'--output={tmp_path}/1.jsonl', '--batch_size=4']
  process = tiny.fork(argv, 1, tmp_path / 'errors', haste=True)
  process.join(300)
  told = [(process.exitcode, (tmp_path / 'errors').read_text())]
  for name, more in (('8', ()), ('4x2', ('--tensor=2',))):
    out = f'--output={tmp_path}/{name}.jsonl'
    status, _, err = call(
      capsys, 'generate', *flags, out, '--batch_size=8', *more
    )
    told.append((status, err))
  for status, err in told:
    assert status == 0, err
    assert '7/7' in err and 'left' in err  # progress, as plain lines
  one, *others = (
    (tmp_path / f'{n}.jsonl').read_bytes() for n in ('1', '8', '4x2')
  )
  assert others == [one, one] and one.count(b'\n') == 7


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
  (['--prompt=a', '--tensor=9'], 'must divide the 8 devices'),
  (['--prompt=a', '--model=/none'], '/none'),
]


@pytest.mark.parametrize('flags, wanted', MISTAKES, ids=lambda x: str(x)[-40:])
def test_mistakes_are_one_line(run, capsys, flags, wanted):
  status, out, err = call(capsys, 'generate', f'--model={run}', *flags)
  assert status == 2 and out == ''
  assert err.startswith('ctxlm generate: ') and err.count('\n') == 1, err
  assert wanted in err and len(err) < 400
