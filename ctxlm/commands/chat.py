"""Talk with a model of dialogues.

Turns are joined by the chat template of the model's folder; where it has none,
each ends with the token that ends a text (Zhang et al. 2020, arXiv:1911.00536,
section 2): turn 1 <eos> turn 2 <eos> ... When they grow longer than the model
sees, the oldest turns are left out, whole, and the system's stays.

  ctxlm chat --model microsoft/DialoGPT-small
  ctxlm chat --model runs/mine --strategy sample --top_p=0.9 --seed=1
  ctxlm chat --model DIR --system "Answer in French." --save talk.jsonl

With --save a file keeps the talk, and the same command again goes on with it;
`ctxlm generate --input` reads it, and so does training on dialogues.
"""

import contextlib
import itertools
import sys

from ctxlm.commands import decoding_flags, flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm chat`."""
  flags.add_model(parser)
  parser.add(
    'what is read',
    '--system',
    metavar='TEXT',
    help="the system's turn, which begins the dialogue; left out, what the "
    'chat template says',
  )
  parser.add(
    'what is written',
    '--save',
    metavar='FILE.jsonl',
    help='what is said, {"messages": [...]}, as it is said; gone on with if it '
    'is there',
  )
  decoding_flags.add(parser)


def main(F):
  """Entry point of `ctxlm chat`."""
  import jax

  from ctxlm import decoding
  from ctxlm.inference import loading, writing
  from ctxlm.inference import turns as turns_lib
  from ctxlm.parallel import processes

  processes.start()
  config = decoding_flags.config_of(F)
  if config.max_new_tokens is None:  # not the 20 of a folder that says nothing
    config.max_new_tokens = decoding.base().max_new_tokens
  config.num_samples = 1
  with contextlib.ExitStack() as held:
    turns, keep = [], lambda turns: None
    if F.save is not None:
      kept = held.enter_context(contextlib.closing(turns_lib.Kept(F.save)))
      turns, keep = kept.turns, kept.keep
    if F.system is not None:
      turns = turns_lib.with_system(turns, F.system)
    one = writing.place(devices=jax.devices()[:1])
    loaded = loading.load(F.model, one, F.step)
    generator, encode = writing.generator_of(loaded, config, turns=True)
    talk(generator, encode, turns, sys.stdin, keep)


def talk(generator, encode, turns, lines, keep):
  """Answers each line; the end of the lines ends the dialogue.

  Args:
    generator, encode: see ctxlm.inference.writing.
    turns: [{'role', 'content'}] of before.
    lines: iterable of str.
    keep: function of the turns, called after each.

  Raises:
    UserError: the model takes no dialogue that begins so.
  """
  from ctxlm.decoding import stream

  if turns and turns[-1]['role'] == 'user':  # it waits for its answer
    *turns, last = turns
    lines = itertools.chain([last['content']], lines)
  encode([*turns, {'role': 'user', 'content': '?'}])
  print('Say something; an end of file (control-D) ends it.', file=sys.stderr)
  said = len(turns) // 2
  for line in lines:
    if not line.strip():
      continue
    asked = [*turns, {'role': 'user', 'content': line.strip()}]
    try:
      prompt = encode(asked)
    except UserError as e:
      print(e, file=sys.stderr)
      continue
    keep(asked)
    text = stream.show(stream.pieces(generator, prompt, said))
    turns = [*asked, {'role': 'assistant', 'content': text}]
    keep(turns)
    said += 1
