"""`ctxlm generate --model DIR --prompt TEXT`: text from a language model.

With `--input prompts.jsonl --output out.jsonl` it writes for every line's
"prompt", in batches, on all devices, and goes on where it was stopped.

ctxlm generate --model runs/quickstart --prompt "The module" \
  --strategy sample --temperature 0.8 --top_p 0.95
ctxlm generate --model DIR --input prompts.jsonl --output out.jsonl \
  --strategy beam:num_beams=4,length_penalty=0.8 --processor no_repeat_ngram:3
"""

import math
from pathlib import Path

import jax
from absl import flags

from ctxlm.commands import decoding_flags
from ctxlm.decoding import stream
from ctxlm.errors import UserError
from ctxlm.inference import prompts, writing
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm generate`."""
  decoding_flags.define()
  flags.DEFINE_string('prompt', None, 'what the text begins with')
  flags.DEFINE_string('input', None, 'jsonl with "prompt" in every line')
  flags.DEFINE_string('output', None, 'jsonl to write, or to go on with')
  flags.DEFINE_integer(
    'num_samples', None, 'texts of each prompt', lower_bound=1
  )
  flags.DEFINE_bool('show_probs', False, "show each token's probability")
  flags.DEFINE_float('guidance', None, 'scale of classifier-free guidance')
  flags.DEFINE_string('negative_prompt', '', 'what guidance goes away from')
  flags.DEFINE_integer(
    'batch_size', 8, 'prompts at a time, over all devices', lower_bound=1
  )
  flags.DEFINE_integer(
    'tensor', 1, 'devices that share one model', lower_bound=1
  )


def main():
  """Entry point of `ctxlm generate`."""
  F = flags.FLAGS
  processes.start()
  if (F.prompt is None) == (F.input is None):
    raise UserError('give --prompt TEXT, or --input FILE with --output FILE')
  c = decoding_flags.make_config()
  c.num_samples, c.show_probs = F.num_samples, F.show_probs
  c.guidance, c.negative_prompt = F.guidance, F.negative_prompt
  if F.prompt is not None:
    devices = jax.devices()[: max(F.tensor, 1)]
    placement = writing.place(F.tensor, devices)
    generator, encode = writing.open_generator(
      F.model, c, step=F.step, placement=placement
    )
    show(generator, encode(F.prompt))
    return
  if F.output is None:
    raise UserError('--input needs --output FILE.jsonl')
  rows = prompts.read(F.input)
  placement = writing.place(F.tensor)
  if F.batch_size < 1 or F.batch_size % placement.shards:
    raise UserError(
      f'--batch_size {F.batch_size} is not divisible by '
      f'{placement.shards} devices'
    )
  generator, encode = writing.open_generator(
    F.model, c, step=F.step, placement=placement
  )
  settings = {'model': str(Path(F.model).resolve())}
  settings |= generator.config.to_dict()
  prompts.write_all(generator, encode, rows, F.output, F.batch_size, settings)


def show(generator, prompt):
  """Prints the text, or texts, that follow a prompt."""
  if generator.results == 1 and not generator.config.show_probs:
    stream.show(stream.pieces(generator, prompt))
    return
  outputs = generator([prompt])[0]
  for i, one in enumerate(outputs, 1):
    if len(outputs) > 1:
      score = f', score {one["scores"]:.4f}' if 'scores' in one else ''
      print(f'--- {i}{score}')
    if generator.config.show_probs:
      tokens = generator.tokenizer.pieces(one['tokens'])
      for token, logp in zip(tokens, one['logps'], strict=True):
        print(f'{math.exp(logp):7.4f}  {token}')
    print(stream.clean(generator, one['tokens']))
