"""`ctxlm generate` and `ctxlm chat`: files, streams, talks and mistakes."""

import json
import sys

import pytest

from ctxlm import decoding
from ctxlm.commands import chat, generate
from ctxlm.errors import UserError
from ctxlm.inference import writing as writer_lib
from tests import tiny


@pytest.fixture(scope='module')
def run(text, tmp_path_factory):
  """A finished run of a causal model."""
  folder = tmp_path_factory.mktemp('run') / 'run'
  tiny.train(folder, 'config.num_steps=2', 'config.evaluators={}')
  return folder


def call(verb, *flags, tmp_path, devices=1):
  """Returns (status, output, errors) of a command."""
  errors = tmp_path / 'errors'
  argv = [sys.executable, '-m', 'ctxlm', verb, *flags]
  process = tiny.fork(argv, devices, errors)
  process.join(120)
  out = (tmp_path / 'errors.out').read_text()
  return process.exitcode, out, errors.read_text()


def config(**options):
  c = decoding.base()
  c.max_new_tokens = 6
  c.update(options)
  return c


@pytest.fixture(scope='module')
def opened(run):
  return writer_lib.open_generator(run, config(num_samples=2, show_probs=True))


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
  generator, encode = writer_lib.open_generator(
    run, config(strategy={'name': 'greedy'}, max_new_tokens=5)
  )
  [[one]] = generator([encode('the cat')])
  assert out == generator.tokenizer.decode(one['tokens']) + '\n'
  assert encode('the cat')[0] == generator.tokenizer.bos_id


def test_a_file_that_is_stopped_goes_on(opened, tmp_path):
  generator, encode = opened
  rows = write_prompts(tmp_path / 'in.jsonl')
  settings = {'model': 'x', 'seed': 0}

  def write(path, stops=None):
    def counted(*args):
      nonlocal calls
      calls += 1
      if calls == stops:
        raise KeyboardInterrupt
      return generator(*args)

    calls = 0
    counted.check, counted.tokenizer = generator.check, generator.tokenizer
    counted.config = generator.config
    generate.write_all(counted, encode, rows, path, 2, settings)

  whole, broken = tmp_path / 'whole.jsonl', tmp_path / 'broken.jsonl'
  write(whole)
  with pytest.raises(KeyboardInterrupt):
    write(broken, stops=3)
  with broken.open('a') as f:
    f.write('{"prompt": "the c')  # the line that was being written
  write(broken)
  assert broken.read_bytes() == whole.read_bytes()
  write(broken)  # there is nothing left to do
  assert broken.read_bytes() == whole.read_bytes()
  found = [json.loads(line) for line in whole.read_text().splitlines()]
  assert [row['id'] for row in found] == list(range(7))
  for row in found:
    assert len(row['texts']) == 2
    for tokens, probabilities in zip(
      row['tokens'], row['probabilities'], strict=True
    ):
      assert len(tokens) == len(probabilities) <= 6
      assert all(0 < p <= 1 for p in probabilities)

  with pytest.raises(UserError, match='other settings'):
    generate.begin_output(broken, settings | {'seed': 1}, rows)
  with pytest.raises(UserError, match='other prompts'):
    generate.begin_output(broken, settings, rows[1:])
  assert broken.read_bytes() == whole.read_bytes()


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


def test_stop_strings_never_show(opened, capsys):
  generator = opened[0]

  class Letters:
    tokenizer = generator.tokenizer
    config = config(stop=('cd', 'xyz'))

    def stream(self, prompt, first):
      text = self.tokenizer.encode('ab xy cd xy')
      for i in range(0, len(text), 2):
        yield text[i : i + 2]

  assert generate.stream(Letters(), []) == 'ab xy '
  assert capsys.readouterr().out == 'ab xy \n'


def test_half_a_character_waits_for_the_other(opened, capsys):
  generator = opened[0]
  seen = []

  class Bytes:
    tokenizer = generator.tokenizer
    config = config()

    def stream(self, prompt, first):
      for token in self.tokenizer.encode('é€😀'):
        yield [token]
        seen.append(capsys.readouterr().out)

  assert generate.stream(Bytes(), []) == 'é€😀'
  assert ''.join(seen) + capsys.readouterr().out == 'é€😀\n'
  assert len(seen) > 3 and not any('\ufffd' in s for s in seen)


def test_a_talk_keeps_what_was_said(run, capsys):
  generator, _ = writer_lib.open_generator(
    run, config(strategy={'name': 'greedy'}, max_new_tokens=3)
  )
  t, prompts = generator.tokenizer, []

  def stream(prompt, first):
    prompts.append(prompt)
    yield t.encode('yes') + [t.eos_id]

  generator.stream = stream
  chat.talk(generator, ['the cat\n', '\n', 'a ' * 200, 'dog\n'])
  out, err = capsys.readouterr()
  assert out == 'yes\nyes\n' and 'there is room for 22' in err
  cat, dog, yes = (t.encode(w) for w in ('the cat', 'dog', 'yes'))
  end = [t.eos_id]
  assert prompts == [
    cat + end,
    cat + end + yes + end + dog + end,
  ]


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
    'no text of this vocabulary matches',
  ),
  (['--prompt=a', '--strategy=bean'], "Did you mean 'beam'"),
  (['--prompt=a', '--strategy=beam:beams=3'], "Did you mean 'num_beams'"),
  (['--prompt=a', '--strategy=greedy', '--num_samples=2'], 'draws nothing'),
  (['--input=/none.jsonl', '--output=/tmp/x.jsonl'], '/none.jsonl'),
  (['--prompt=a', '--input=b'], 'give --prompt TEXT, or --input'),
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


@pytest.mark.parametrize(
  'line, wanted',
  [
    ('{"text": "a"}', 'line 2'),
    ('{"prompt": 3}', 'line 2'),
    ('the cat', 'line 2'),
    ('{"prompt": ""}', 'line 2: the prompt is empty'),
  ],
)
def test_lines_that_are_no_prompts(opened, tmp_path, line, wanted):
  path = tmp_path / 'in.jsonl'
  path.write_text('{"prompt": "the cat"}\n' + line + '\n')
  with pytest.raises(UserError, match=wanted):
    rows = generate.read_prompts(path)
    generate.write_all(*opened, rows, tmp_path / 'out.jsonl', 2, {})
  assert list(tmp_path.iterdir()) == [path]
