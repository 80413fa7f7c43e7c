r"""Write text after a prompt, or after each of a file.

Of lines, one JSON object for each, with its "texts". A line of FILE.jsonl has a
"prompt", or a dialogue's "messages", which the model's chat template joins.
With --output a file is written in batches, on all devices, and the same command
again goes on where it was stopped.

  ctxlm generate --model runs/quickstart --prompt "The module" \
    --strategy sample --temperature=0.8 --top_p=0.95
  ctxlm generate --model DIR --input prompts.jsonl --output out.jsonl \
    --strategy beam:num_beams=4,length_penalty=0.8 --processor no_repeat_ngram:3
  ctxlm generate --model runs/quickstart --prompt "The module" \
    --context neural_cache:theta=0.3,weight=0.1
  echo "The module" | ctxlm generate --model runs/quickstart --top_p=0.95
"""

import math

from ctxlm import ranges
from ctxlm.commands import decoding_flags, flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm generate`."""
  flags.add_model(parser)
  flags.add_context(parser)
  parser.add(
    'what is read',
    '--prompt',
    metavar='TEXT',
    help="what the text begins with, or an encoder-decoder's source",
  )
  parser.add(
    'what is read',
    '--input',
    metavar='FILE',
    help='a prompt a line, or FILE.jsonl with "prompt" or "messages" in every '
    'line; left out, without --prompt, standard input',
  )
  parser.add(
    'what is written',
    '--output',
    metavar='FILE.jsonl',
    help='left out, standard output',
  )
  decoding_flags.add(parser)
  use = 'how text is written'
  count = flags.number(ranges.Count)
  parser.add(
    use, '--num_samples', metavar='N', type=count, help='texts of each prompt'
  )
  parser.add(
    use,
    '--show_probs',
    action='store_true',
    help="show each token's probability",
  )
  parser.add(
    use,
    '--guidance',
    metavar='X',
    type=flags.number(float),
    help='scale of classifier-free guidance',
  )
  parser.add(
    use,
    '--negative_prompt',
    metavar='TEXT',
    default='',
    help='what guidance goes away from',
  )
  use = 'devices'
  parser.add(
    use,
    '--batch_size',
    metavar='N',
    type=count,
    default=8,
    help='prompts at a time, over all devices',
  )
  parser.add(
    use,
    '--tensor',
    metavar='N',
    type=count,
    default=1,
    help='devices that share one model',
  )


def main(F):
  """Entry point of `ctxlm generate`."""
  import jax

  from ctxlm.families import hub
  from ctxlm.inference import loading, prompts, writing
  from ctxlm.parallel import processes

  if F.prompt is not None and (F.input or F.output):
    raise UserError('give --prompt, or --input and --output, and not both')
  processes.start()
  c = decoding_flags.config_of(F)
  c.num_samples, c.show_probs = F.num_samples, F.show_probs
  c.guidance, c.negative_prompt = F.guidance, F.negative_prompt
  rows = [] if F.prompt is not None else prompts.read(F.input)
  devices = jax.devices()[: max(F.tensor, 1)] if F.output is None else None
  placement = writing.place(F.tensor, devices)
  if F.output and F.batch_size % placement.shards:
    raise UserError(
      f'--batch_size {F.batch_size} is not divisible by '
      f'{placement.shards} devices'
    )
  step = loading.step_of(F.model, F.step)
  generator, encode = writing.open_generator(
    F.model,
    c,
    step=step,
    placement=placement,
    turns=any('messages' in row for row in rows),
    context=F.context,
  )
  if F.prompt is not None:
    return show(generator, encode(F.prompt))
  if F.output is None:
    return prompts.answer(generator, encode, rows, F.batch_size)
  settings = {'model': str(hub.find(F.model).resolve()), 'step': step}
  settings |= generator.config.to_dict()
  if F.context:
    settings['context'] = F.context
  prompts.write_all(generator, encode, rows, F.output, F.batch_size, settings)


def show(generator, prompt):
  """Prints the text, or texts, that follow a prompt."""
  from ctxlm.decoding import stream

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
