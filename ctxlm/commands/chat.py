"""`ctxlm chat --model DIR`: a conversation with a DialoGPT-shaped model.

Turns are joined by the token that ends a text (Zhang et al. 2020,
arXiv:1911.00536, section 2): turn 1 <eos> turn 2 <eos> ... When they grow
longer than the model sees, the oldest turns are left out, whole.
"""

import sys

from absl import flags

from ctxlm.commands import generate
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import writing as writer_lib
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm chat`."""
  generate.define_decoding_flags()


def main():
  """Entry point of `ctxlm chat`."""
  F = flags.FLAGS
  processes.start()
  generator, _ = writer_lib.open_generator(
    F.model, generate.make_config(), step=F.step
  )
  if generator.encoder_decoder:
    raise UserError('chat needs a decoder alone, which reads its own turns')
  talk(generator, sys.stdin)


def talk(generator, lines):
  """Answers each line; the end of the lines ends the conversation."""
  t, turns, said = generator.tokenizer, [], 0
  limit = generator.context_length
  if limit is not None:
    limit -= generator.config.max_new_tokens - 1  # the last is not read
    if limit < 2:
      raise UserError(
        f'--max_new_tokens {generator.config.max_new_tokens} leaves no room '
        f'for turns: the model sees {generator.context_length} tokens'
      )
  print('Say something; an end of file (control-D) ends it.', file=sys.stderr)
  for line in lines:
    ids = t.encode(line.strip())
    if not ids:
      continue
    try:
      prompt = framing.dialogue([*turns, ids], t.eos_id, limit)
    except UserError as e:
      print(e, file=sys.stderr)
      continue
    text = generate.stream(generator, prompt, said)
    turns += [ids, t.encode(text)]
    said += 1
