"""The flags that a decoding config is made of; of `generate` and `chat`."""

from absl import flags

from ctxlm import decoding
from ctxlm.decoding import build


def define():
  """Defines the flags; what is None is the folder's own."""
  flags.DEFINE_string('model', None, 'run folder, or Hugging Face folder')
  flags.DEFINE_string('step', '', "'' is the newest, 'best', or a number")
  flags.DEFINE_string(
    'strategy',
    None,
    'NAME, or NAME:key=value,...: see ctxlm.decoding.strategies; left out, '
    'what a Hugging Face folder says, or sample',
  )
  flags.DEFINE_multi_string(
    'processor', [], 'NAME:VALUE or NAME:key=value,..., in the order applied'
  )
  for name in build.FILTERS:
    define = flags.DEFINE_integer if name == 'top_k' else flags.DEFINE_float
    define(name, None, f'the processor {name}, after --processor')
  flags.DEFINE_integer(
    'max_new_tokens',
    None,
    'tokens of a text, at most; left out, what a Hugging Face folder says, '
    'or 128',
    lower_bound=1,
  )
  flags.DEFINE_multi_string('stop', [], 'text at which to stop')
  flags.DEFINE_integer('seed', 0, 'of the draws')


def make_config():
  """Returns the decoding config of the flags; see decoding.unsaid."""
  F, c = flags.FLAGS, decoding.unsaid()
  if F.strategy is not None:
    c.strategy = build.parse('decoding.strategies', F.strategy)
  blocks = [build.parse('decoding.processors', text) for text in F.processor]
  for name in build.FILTERS:
    value = F[name].value
    if value is not None:
      blocks.append(build.parse('decoding.processors', f'{name}:{value}'))
  c.processors = tuple(blocks)
  c.max_new_tokens, c.stop, c.seed = F.max_new_tokens, tuple(F.stop), F.seed
  return c
