"""The flags that a decoding config is made of."""

from ctxlm import ranges
from ctxlm.commands import flags
from ctxlm.decoding import FILTERS


def add(parser, otherwise='sample'):
  """Declares the flags; what is None is the folder's own.

  Args:
    parser: flags.Parser.
    otherwise: the strategy of a folder that has none.
  """
  use = 'how text is written'
  parser.add(
    use,
    '--strategy',
    metavar='NAME[:KEY=VALUE,...]',
    help='one of ctxlm/decoding/strategies; left out, what a Hugging Face '
    f'folder says, or {otherwise}',
  )
  parser.add(
    use,
    '--processor',
    metavar='NAME:VALUE',
    action='append',
    default=[],
    help='one of ctxlm/decoding/processors, or NAME:KEY=VALUE,...; several '
    'are applied in their order',
  )
  for name, kind in FILTERS.items():
    parser.add(
      use,
      f'--{name}',
      metavar='X' if kind is float else 'N',
      type=flags.number(kind),
      help=f'the processor {name}, after those of --processor',
    )
  parser.add(
    use,
    '--max_new_tokens',
    metavar='N',
    type=flags.number(ranges.Count),
    help='tokens of a text, at most; left out, what a Hugging Face folder '
    'says, or 128',
  )
  parser.add(
    use,
    '--stop',
    metavar='TEXT',
    action='append',
    default=[],
    help='text at which to stop; may be said again',
  )
  parser.add(
    use,
    '--seed',
    metavar='N',
    type=flags.number(ranges.Seed),
    default=0,
    help='of the draws',
  )


def said(F):
  """Whether a command line has any of the flags."""
  plain = 'strategy', 'max_new_tokens', *FILTERS
  return (
    any(vars(F)[name] is not None for name in plain)
    or bool(F.processor or F.stop)
    or F.seed != 0
  )


def config_of(F):
  """Returns the decoding config of the flags; see decoding.unsaid."""
  from ctxlm.decoding import build

  return build.config_of(
    {
      'strategy': F.strategy,
      'processors': F.processor,
      'max_new_tokens': F.max_new_tokens,
      'stop': tuple(F.stop),
      'seed': F.seed,
      **{name: vars(F)[name] for name in FILTERS},
    }
  )
