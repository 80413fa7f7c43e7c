"""Files of prompts: they go on where they stopped; mistakes are one line."""

import contextlib
import gzip
import json

import pytest

from ctxlm import decoding
from ctxlm.errors import UserError
from ctxlm.inference import outputs, prompts, writing
from ctxlm.parallel import locks


def begin(path, settings, rows):
  return outputs.begin(path, settings, rows, prompts.asked, 'prompt')


@pytest.fixture(scope='module')
def opened(runs):
  """(Generator, encode) of a run of a causal model."""
  c = decoding.base()
  c.update(max_new_tokens=6, num_samples=2, show_probs=True)
  return writing.open_generator(runs['causal'].workdir, c)


def write_prompts(path, count=7):
  rows = [{'prompt': 'the cat ' * (1 + i % 3), 'id': i} for i in range(count)]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return rows


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path):
  rows = write_prompts(tmp_path / 'in.jsonl')
  for name in ('a.jsonl.gz', 'a.JSONL'):
    text = (tmp_path / 'in.jsonl').read_bytes()
    text = gzip.compress(text) if name.endswith('gz') else text
    (tmp_path / name).write_bytes(text)
    assert prompts.read(tmp_path / name) == rows


def test_a_file_has_one_writer(opened, tmp_path):
  rows, path = write_prompts(tmp_path / 'in.jsonl', 1), tmp_path / 'out.jsonl'
  with (
    contextlib.closing(locks.Lock.of_output(path)),
    pytest.raises(UserError, match='writes out.jsonl there'),
  ):
    prompts.write_all(*opened, rows, path, 2, {})
  assert not path.exists()


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
    prompts.write_all(counted, encode, rows, path, 2, settings)

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

  first = whole.read_bytes().split(b'\n')[0]
  for line in (b'', b'{', b'\xff', b'3', b'{"prompt"}', b'[' * 10_000):
    damaged = whole.read_bytes().replace(first, line, 1)
    broken.write_bytes(damaged)
    with pytest.raises(UserError, match='line 1 is no line that was written'):
      begin(broken, settings, rows)
    assert broken.read_bytes() == damaged
  broken.write_bytes(whole.read_bytes())
  with pytest.raises(UserError, match='other settings'):
    begin(broken, settings | {'seed': 1}, rows)
  with pytest.raises(UserError, match='line 1 is of another prompt'):
    begin(broken, settings, rows[1:] + rows[:1])
  with pytest.raises(UserError, match='is of other prompts'):
    begin(broken, settings, rows[1:])
  assert broken.read_bytes() == whole.read_bytes()


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
    rows = prompts.read(path)
    prompts.write_all(*opened, rows, tmp_path / 'out.jsonl', 2, {})
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', ['texts', 'scores', 'probabilities'])
def test_no_answer_stands_in_place_of_a_field(opened, tmp_path, name):
  rows = [{'prompt': 'the cat'}, {'prompt': 'a dog', name: 'mine'}]
  with pytest.raises(UserError, match=f'prompt 2 has a field {name!r} itself'):
    prompts.write_all(*opened, rows, tmp_path / 'out.jsonl', 2, {})
  assert not list(tmp_path.iterdir())


def test_lines_end_at_newlines_alone(opened, tmp_path):
  """Others' line ends, and half a surrogate pair, go in, out and on."""
  generator, encode = opened
  texts = ['the\x85cat', 'the\u2028dog', 'a \ud83d bird']
  rows = [{'prompt': text} for text in texts]
  lines = [json.dumps(r, ensure_ascii='\ud83d' in r['prompt']) for r in rows]
  source, out = tmp_path / 'in.jsonl', tmp_path / 'out.jsonl'
  source.write_text('\n'.join(lines) + '\n', encoding='utf-8')
  assert prompts.read(source) == rows
  prompts.write_all(generator, encode, rows, out, 2, {})
  whole = out.read_bytes()
  written = [json.loads(line) for line in whole.decode().split('\n')[:-1]]
  assert [row['prompt'] for row in written] == texts
  assert begin(out, {}, rows) == 3
  prompts.write_all(generator, encode, rows, out, 2, {})
  assert out.read_bytes() == whole
