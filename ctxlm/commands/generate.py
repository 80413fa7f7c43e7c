"""`ctxlm generate --model DIR --prompt TEXT`: text from a language model.

With `--input prompts.jsonl --output out.jsonl` it writes for every line's
"prompt", in batches, on all devices, and goes on where it was stopped.

ctxlm generate --model runs/quickstart --prompt "The module" \
  --strategy sample --temperature 0.8 --top_p 0.95
ctxlm generate --model DIR --input prompts.jsonl --output out.jsonl \
  --strategy beam:num_beams=4,length_penalty=0.8 --processor no_repeat_ngram:3
"""

import json
import math
import os
import time
from pathlib import Path

import jax
from absl import flags

from ctxlm import decoding
from ctxlm.decoding import build
from ctxlm.errors import UserError
from ctxlm.inference import writing as writer_lib
from ctxlm.parallel import processes
from ctxlm.training import tracking

# Flags of the usual filters, in the order in which the reference applies them.
FILTERS = ('temperature', 'top_k', 'top_p', 'min_p', 'typical')


def define_decoding_flags():
  """Defines the flags that a decoding config is made of."""
  flags.DEFINE_string('model', None, 'run folder, or Hugging Face folder')
  flags.DEFINE_string('step', '', "'' is the newest, 'best', or a number")
  flags.DEFINE_string(
    'strategy', 'sample', 'NAME, or NAME:key=value,...: see ctxlm.decoding'
  )
  flags.DEFINE_multi_string(
    'processor', [], 'NAME:VALUE or NAME:key=value,..., in the order applied'
  )
  for name in FILTERS:
    flags.DEFINE_float(name, None, f'the processor {name}, after --processor')
  flags.DEFINE_integer('max_new_tokens', 128, 'tokens of a text, at most')
  flags.DEFINE_multi_string('stop', [], 'text at which to stop')
  flags.DEFINE_integer('seed', 0, 'of the draws')


def make_config():
  """Returns the decoding config of the flags."""
  F, c = flags.FLAGS, decoding.base()
  c.strategy = build.parse('decoding.strategies', F.strategy)
  blocks = [build.parse('decoding.processors', text) for text in F.processor]
  for name in FILTERS:
    if F[name].value is not None:
      value = F[name].value
      number = int(value) if name == 'top_k' else value
      blocks.append(build.parse('decoding.processors', f'{name}:{number}'))
  c.processors = tuple(blocks)
  c.max_new_tokens, c.stop, c.seed = F.max_new_tokens, tuple(F.stop), F.seed
  return c


def define_flags():
  """Defines the flags of `ctxlm generate`."""
  define_decoding_flags()
  flags.DEFINE_string('prompt', None, 'what the text begins with')
  flags.DEFINE_string('input', None, 'jsonl with "prompt" in every line')
  flags.DEFINE_string('output', None, 'jsonl to write, or to go on with')
  flags.DEFINE_integer('num_samples', 1, 'texts of each prompt')
  flags.DEFINE_bool('show_probs', False, "show each token's probability")
  flags.DEFINE_float('guidance', 1.0, 'scale of classifier-free guidance')
  flags.DEFINE_string('negative_prompt', '', 'what guidance goes away from')
  flags.DEFINE_integer('batch_size', 8, 'prompts at a time, over all devices')
  flags.DEFINE_integer('tensor', 1, 'devices that share one model')


def main():
  """Entry point of `ctxlm generate`."""
  F = flags.FLAGS
  processes.start()
  if (F.prompt is None) == (F.input is None):
    raise UserError('give --prompt TEXT, or --input FILE with --output FILE')
  c = make_config()
  c.num_samples, c.show_probs = F.num_samples, F.show_probs
  c.guidance, c.negative_prompt = F.guidance, F.negative_prompt
  if F.prompt is not None:
    devices = jax.devices()[: max(F.tensor, 1)]
    placement = writer_lib.place(F.tensor, devices)
    generator, encode = writer_lib.open_generator(
      F.model, c, step=F.step, placement=placement
    )
    show(generator, encode(F.prompt))
    return
  if F.output is None:
    raise UserError('--input needs --output FILE.jsonl')
  rows = read_prompts(F.input)
  placement = writer_lib.place(F.tensor)
  if F.batch_size < 1 or F.batch_size % placement.shards:
    raise UserError(
      f'--batch_size {F.batch_size} is not divisible by {placement.shards} devices'
    )
  generator, encode = writer_lib.open_generator(
    F.model, c, step=F.step, placement=placement
  )
  settings = {'model': str(Path(F.model).resolve()), **c.to_dict()}
  write_all(generator, encode, rows, F.output, F.batch_size, settings)


def clean(generator, tokens):
  """Returns the text of new tokens, what stops it cut off."""
  text = generator.tokenizer.decode(tokens)
  ends = [text.find(s) for s in generator.config.stop if s in text]
  return text[: min(ends)] if ends else text


class Stream:
  """Prints a text as its tokens come."""

  def __init__(self, generator):
    self._generator, self._tokens, self.text = generator, [], ''
    # A stop string's beginning waits until it is clear what follows.
    self._held = max(map(len, generator.config.stop), default=1) - 1

  def add(self, tokens, last=False):
    """Prints what is certain with more tokens."""
    self._tokens += tokens
    text = clean(self._generator, self._tokens)
    if not last:
      text = text[: len(text) - self._held] if self._held else text
      text = text.rstrip('\ufffd')  # half of a character
    print(text[len(self.text) :], end='', flush=True)
    self.text = text if len(text) > len(self.text) else self.text


def stream(generator, prompt, first=0):
  """Prints the text that follows a prompt as it is written; returns it."""
  shown = Stream(generator)
  for tokens in generator.stream(prompt, first):
    shown.add(tokens)
  shown.add([], last=True)
  print()
  return shown.text


def show(generator, prompt):
  """Prints the text, or texts, that follow a prompt."""
  if generator.results == 1 and not generator.config.show_probs:
    stream(generator, prompt)
    return
  found = generator([prompt])[0]
  for i, one in enumerate(found, 1):
    if len(found) > 1:
      score = f', score {one["scores"]:.4f}' if 'scores' in one else ''
      print(f'--- {i}{score}')
    if generator.config.show_probs:
      tokens = generator.tokenizer.tokens(one['tokens'])
      for token, logp in zip(tokens, one['logps'], strict=True):
        print(f'{math.exp(logp):7.4f}  {token}')
    print(clean(generator, one['tokens']))


def read_prompts(path):
  """Returns the objects of a jsonl file, each with "prompt".

  Raises:
    UserError: there is no such file, or a line that isn't so.
  """
  try:
    lines = Path(path).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f'--input {path}: {e}') from e
  rows = []
  for i, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
      if not isinstance(row['prompt'], str):
        raise TypeError
    except (ValueError, KeyError, TypeError) as e:
      raise UserError(
        f'--input {path}, line {i}: not an object with a text "prompt"'
      ) from e
    rows.append(row)
  if not rows:
    raise UserError(f'--input {path} is empty')
  return rows


def begin_output(path, settings, rows):
  """Returns how many lines of an output are done, having cut a broken one.

  Raises:
    UserError: the file is of other settings or prompts.
  """
  path, note = Path(path), Path(f'{path}.settings.json')
  text = json.dumps(settings, indent=2) + '\n'
  if not path.exists():
    new = Path(f'{note}.new')
    try:
      new.write_text(text)
      os.replace(new, note)
      path.touch()
    except OSError as e:
      raise UserError(f'--output {path}: {e}') from e
    return 0
  if not note.exists() or note.read_text() != text:
    raise UserError(
      f'--output {path} was written with other settings; use another file'
    )
  whole = path.read_bytes()
  whole = whole[: whole.rfind(b'\n') + 1]
  done = [json.loads(line) for line in whole.decode().splitlines()]
  prompts = [row['prompt'] for row in rows]
  if [row['prompt'] for row in done] != prompts[: len(done)]:
    raise UserError(
      f'--output {path} is of other prompts than --input; use another file'
    )
  os.truncate(path, len(whole))
  return len(done)


def write_all(generator, encode, rows, path, batch_size, settings):
  """Writes a line for each row: the row, and its "texts".

  With show_probs also "tokens" and "probabilities", of beams "scores".
  """
  prompts = []
  for i, row in enumerate(rows, 1):
    try:
      ids = encode(row['prompt'])
      generator.check(ids)
    except UserError as e:
      raise UserError(f'--input, line {i}: {e}') from e
    prompts.append(ids)
  done = 0
  if jax.process_index() == 0:
    done = begin_output(path, settings, rows)
  progress = tracking.Progress(len(rows), done, 'prompt')
  start, first, shown = time.monotonic(), done, 0.0
  while done < len(rows):
    part = prompts[done : done + batch_size]
    found = generator(part, done, batch_size)
    lines = [
      _line(generator, row, texts)
      for row, texts in zip(rows[done : done + len(part)], found, strict=True)
    ]
    if jax.process_index() == 0:
      with open(path, 'a', encoding='utf-8') as f:
        f.write(''.join(lines))
    done += len(part)
    progress.advance(done)
    seconds = time.monotonic() - start
    if seconds - shown > 10 or done == len(rows):
      shown, rate = seconds, (done - first) / seconds
      progress.show(done, f'{rate:.2f} prompts/s', (len(rows) - done) / rate)
  progress.close()


def _line(generator, row, texts):
  row = row | {'texts': [clean(generator, one['tokens']) for one in texts]}
  if 'scores' in texts[0]:
    row['scores'] = [float(one['scores']) for one in texts]
  if generator.config.show_probs:
    row['tokens'] = [generator.tokenizer.tokens(x['tokens']) for x in texts]
    row['probabilities'] = [
      [round(math.exp(logp), 6) for logp in one['logps']] for one in texts
    ]
  return json.dumps(row, ensure_ascii=False) + '\n'
