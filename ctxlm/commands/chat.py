"""Talk with a model of dialogues.

Turns are joined by the chat template of the model's folder; where it has none,
each ends with the token that ends a text (Zhang et al. 2020, arXiv:1911.00536,
section 2): turn 1 <eos> turn 2 <eos> ... When they grow longer than the model
sees, the oldest turns are left out, whole.

  ctxlm chat --model microsoft/DialoGPT-small
  ctxlm chat --model runs/mine --strategy sample --top_p=0.9 --seed=1
  ctxlm chat --model runs/mine --step=best --max_new_tokens=40
"""

import sys

from ctxlm.commands import decoding_flags, flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm chat`."""
  flags.add_model(parser)
  decoding_flags.add(parser)


def main(F):
  """Entry point of `ctxlm chat`."""
  import jax

  from ctxlm import decoding
  from ctxlm.inference import loading, writing
  from ctxlm.parallel import processes

  processes.start()
  config = decoding_flags.config_of(F)
  if config.max_new_tokens is None:  # not the 20 of a folder that says nothing
    config.max_new_tokens = decoding.base().max_new_tokens
  config.num_samples = 1
  one = writing.place(devices=jax.devices()[:1])
  loaded = loading.load(F.model, one, F.step)
  generator, _ = writing.generator_of(loaded, config)
  talk(generator, writing.dialogues_of(loaded), sys.stdin)


def talk(generator, join, lines):
  """Answers each line; the end of the lines ends the conversation.

  Args:
    generator: ctxlm.decoding.generator.Generator.
    join: how turns become ids, see ctxlm.data.dialogues.of.
    lines: iterable of str.
  """
  from ctxlm.data import dialogues
  from ctxlm.decoding import stream
  from ctxlm.inference import writing

  turns, said = [], 0
  limit = writing.room_for_turns(generator)
  print('Say something; an end of file (control-D) ends it.', file=sys.stderr)
  for line in lines:
    if not line.strip():
      continue
    asked = [*turns, line.strip()]
    try:
      prompt = join.prompt(dialogues.alternating(asked, 'user'), limit)
    except UserError as e:
      print(e, file=sys.stderr)
      continue
    turns = [*asked, stream.show(stream.pieces(generator, prompt, said))]
    said += 1
