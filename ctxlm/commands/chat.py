"""`ctxlm chat --model DIR`: a conversation with a DialoGPT-shaped model.

Turns are joined by the token that ends a text (Zhang et al. 2020,
arXiv:1911.00536, section 2): turn 1 <eos> turn 2 <eos> ... When they grow
longer than the model sees, the oldest turns are left out, whole.
"""

import sys

from absl import flags

from ctxlm import decoding
from ctxlm.commands import decoding_flags
from ctxlm.data import framing
from ctxlm.decoding import stream
from ctxlm.errors import UserError
from ctxlm.inference import writing
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm chat`."""
  decoding_flags.define()


def main():
  """Entry point of `ctxlm chat`."""
  F = flags.FLAGS
  processes.start()
  config = decoding_flags.make_config()
  if config.max_new_tokens is None:  # not the 20 of a folder that says nothing
    config.max_new_tokens = decoding.base().max_new_tokens
  config.num_samples = 1
  generator, _ = writing.open_generator(F.model, config, step=F.step)
  talk(generator, sys.stdin)


def talk(generator, lines):
  """Answers each line; the end of the lines ends the conversation."""
  t, turns, said = generator.tokenizer, [], 0
  limit = writing.room_for_turns(generator)
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
    text = stream.show(stream.pieces(generator, prompt, said))
    turns += [ids, t.encode(text)]
    said += 1
