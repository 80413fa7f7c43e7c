"""The flags that a decoding config is made of; of `generate` and `chat`."""

from absl import flags

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
  F = flags.FLAGS
  return build.config_of(
    {
      'strategy': F.strategy,
      'processors': F.processor,
      'max_new_tokens': F.max_new_tokens,
      'stop': tuple(F.stop),
      'seed': F.seed,
      **{name: F[name].value for name in build.FILTERS},
    }
  )
