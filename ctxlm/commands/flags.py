"""A verb's flags: declared, shown and read, by argparse.

A verb's module has a docstring, which is its help; `add_flags(parser)`; and
`main(F)`, of what was read. It imports nothing heavy before `main`, so that
help and a mistake in a flag are answered at once.
"""

import argparse
import inspect
import re
import shutil
from typing import get_args

from ctxlm import plugins, ranges, recipes
from ctxlm.errors import UserError

WIDTH = 80  # of help, at most


class Help(argparse.RawDescriptionHelpFormatter):
  """Help with each flag's default, where it has one to speak of."""

  def __init__(self, prog):
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH)
    super().__init__(prog, max_help_position=27, width=width)

  def _get_help_string(self, action):
    if action.default in (None, '', False, [], argparse.SUPPRESS):
      return action.help
    return f'{action.help} (default: %(default)s)'


class Parser(argparse.ArgumentParser):
  """Reads the flags of one verb.

  `--flag=value` and `--flag value` are the same, and so are `-` and `_` in a
  flag's name. `--config.KEY=VALUE` is an override of a recipe, where there is
  one: `F.overrides` has the (KEY, text) in their order.
  """

  def __init__(self, verb, doc):
    first, _, rest = inspect.cleandoc(doc).partition('\n')
    description = f'ctxlm {verb}: {first}\n{rest}'.replace('``', '`')
    super().__init__(
      prog=f'ctxlm {verb}',
      usage=argparse.SUPPRESS,
      description=description,
      formatter_class=Help,
      add_help=False,
      allow_abbrev=False,
    )
    self._groups, self._needed = {}, []
    self._takes_config = self._takes_paths = False

  @property
  def names(self):
    """Names of its flags: ['--workdir', ...]."""
    return list(self._option_string_actions)

  def add(self, use, name, *, needed=False, completer=None, **options):
    """Declares a flag.

    Args:
      use: title of the flags of its use, such as 'what is read'.
      name: '--workdir'.
      needed: whether the verb can't do without it.
      **options: of argparse's add_argument; and `completer`, a function that
        gives a shell the values that there are.
    """
    if use not in self._groups:
      self._groups[use] = self.add_argument_group(use)
    action = self._groups[use].add_argument(name, **options)
    if completer:
      action.completer = lambda **_: completer()
    if needed:
      self._needed.append(action)

  def add_paths(self, metavar, help, completer=None):
    """Declares what is no flag: F.paths."""
    self.add(
      'what is read',
      'paths',
      nargs='*',
      metavar=metavar,
      help=help,
      completer=completer,
    )
    self._takes_paths = True

  def add_config(self, help, needed=True):
    """Declares --config RECIPE, and its overrides."""
    self.add(
      'what is read',
      '--config',
      metavar='RECIPE',
      needed=needed,
      help=help,
      completer=recipes.ours,
    )
    self.add_overrides()

  def add_overrides(self):
    """Declares --config.KEY=VALUE."""
    self.add(
      'what is read',
      '--config.KEY',
      metavar='VALUE',
      dest='overrides',
      help='sets a key of the recipe, such as --config.num_steps=500',
    )
    self._takes_config = True

  def read(self, argv):
    """Returns the argparse.Namespace of a command line.

    Args:
      argv: [str] after the verb.

    Raises:
      UserError: one line of what is wrong with it.
    """
    known = self._option_string_actions
    flags, paths, overrides, left = [], [], [], list(argv)
    while left:
      word = left.pop(0)
      if not word.startswith('--'):
        paths.append(word)
        continue
      name, equals, value = word.partition('=')
      override = self._takes_config and name.startswith('--config.')
      name = name if override else self._named(name)
      switch = not override and known[name].nargs == 0
      if not equals and not switch:
        # A value may begin with - or even --, but be no flag.
        if left and left[0].split('=')[0] not in known:
          value = left.pop(0)
        elif override:
          value = 'true'
        else:
          raise UserError(f'{name} needs a value')
      if override:
        overrides.append((name.removeprefix('--config.'), value))
      elif switch:
        if value not in ('', 'true', 'false'):
          raise UserError(f'{name} takes no value')
        flags += [name] if value != 'false' else []
      else:
        flags.append(f'{name}={value}')
    if paths and not self._takes_paths:
      more = ', and a recipe is named by --config' if self._takes_config else ''
      raise UserError(
        f'unexpected argument {paths[0]!r}: flags begin with --{more}; of '
        "several files a pattern stands in quotes, 'books/*.txt'"
      )
    F = self.parse_args([*flags, *(['--', *paths] if paths else [])])
    if self._takes_config:
      F.overrides = overrides
    for action in self._needed:
      if vars(F)[action.dest] is None:
        name = f'{action.option_strings[0]} {action.metavar}'
        raise UserError(f'{name} is needed: {action.help}')
    return F

  def _named(self, name):
    # The flag's own name, whichever way its words are joined.
    known = self.names
    for own in known:
      if own.replace('-', '_') == name.replace('-', '_'):
        return own
    if self._takes_config and (key := _key(name.lstrip('-'))):
      raise UserError(f"there is no {name}. Did you mean '--config.{key}'?")
    raise UserError(f'there is no {name}.{plugins.suggest(name, known)}')

  def error(self, message):
    """Raises a mistake's line as UserError."""
    raise UserError(re.sub(r'^argument (--[\w.-]+): ?', r'\1', message))


def _key(name):
  # The path of a key of the config, or ''; what it imports is heavy.
  from ctxlm import config
  from ctxlm.recipes import overrides

  base = config.base()
  return name if name in base else overrides.below(base, name)


def number(kind):
  """Returns argparse's type of numbers, see ctxlm.ranges."""
  plain = (*get_args(kind), kind)[0]

  def read(text):
    try:
      value = plain(text)
    except ValueError as e:
      words = ranges.KINDS[plain][1]
      raise argparse.ArgumentTypeError(f'={text} must be {words}') from e
    if wanted := ranges.missed(kind, value):
      raise argparse.ArgumentTypeError(f'={text} must be {wanted}')
    return value

  return read


def one_of(names):
  """Returns argparse's options of a flag that has one of some values."""

  def read(text):
    if text not in names:
      hint = plugins.suggest(text, names)
      raise argparse.ArgumentTypeError(f'={text} is none of its values.{hint}')
    return text

  return {'type': read, 'choices': names, 'metavar': '|'.join(names)}


def add_model(parser):
  """Declares --model and --step: what a verb opens."""
  parser.add(
    'what is read',
    '--model',
    metavar='DIR',
    needed=True,
    help='a run folder, a model folder, a folder of Hugging Face or '
    'sentence-transformers, or the name of one on the hub that was downloaded; '
    'or a GGUF file',
  )
  add_step(parser)


def add_step(parser):
  """Declares --step."""
  parser.add(
    'what is read',
    '--step',
    metavar='STEP',
    default='',
    help="of a run: a number, or 'best'; left out, the newest",
  )


def add_context(parser):
  """Declares --context."""
  parser.add(
    'what is read',
    '--context',
    metavar='NAME:KEY=VALUE,...',
    action='append',
    default=[],
    help="one of ctxlm/context, which is mixed with the model's own next-token "
    'distribution: interpolate:model=DIR,weight=0.3, '
    'neural_cache:theta=0.3,window=500,weight=0.1, nearest:store=DIR,k=64; '
    'may be said again',
  )


def add_text(parser, what):
  """Declares --text and --input; see inference.lines."""
  parser.add('what is read', '--text', metavar='TEXT', help=what)
  parser.add(
    'what is read',
    '--input',
    metavar='FILE',
    help='a text a line; left out, without --text, standard input',
  )


def add_rows(parser, own):
  """Declares --max_length, 0 being `own`, and --batch_size."""
  use = 'how'
  parser.add(
    use,
    '--max_length',
    metavar='N',
    type=number(ranges.Whole),
    default=0,
    help=f'tokens of a row; 0 is {own}',
  )
  parser.add(
    use,
    '--batch_size',
    metavar='N',
    type=number(ranges.Count),
    default=32,
    help='rows at a time',
  )


def add_data(parser, more=''):
  """Declares --data; `more` is what becomes of it."""
  parser.add(
    'what is read',
    '--data',
    metavar='FILES',
    action='append',
    default=[],
    help=f"your own{more and ', '}{more}, in place of the recipe's: a file, a "
    "folder or a pattern, 'books/*.txt'; with the field of the text, or those "
    'of a pair, behind a colon, file.jsonl:field, or with names, '
    'file.csv:text=FIELD,label=FIELD; TASK=FILES where there are several tasks',
  )


def add_split(parser, default):
  """Declares --config, --data, --split and --task: of a checkpoint's text."""
  use = 'what is read'
  parser.add_config("a recipe; left out, the run's own", needed=False)
  add_data(parser, 'all of which is read')
  parser.add(
    use,
    '--split',
    metavar='SPLIT',
    default=default,
    help='of the data: train, validation or test',
  )
  parser.add(
    use,
    '--task',
    metavar='NAME',
    default='',
    help="of the recipe's tasks; left out, the first",
  )


def opened(F):
  """Returns what `add_model` and `add_split` say, see judging.open_program."""
  return {
    'folder': F.model,
    'step': F.step,
    'recipe': F.config,
    'overrides': F.overrides,
    'data': F.data,
  }


def add_processes(parser):
  """Declares the flags of verbs that run over several processes."""
  use = 'several processes'
  parser.add(
    use, '--coordinator', metavar='HOST:PORT', help='address of process 0'
  )
  parser.add(
    use,
    '--num_processes',
    metavar='N',
    type=number(ranges.Count),
    help='how many there are',
  )
  parser.add(
    use,
    '--process_id',
    metavar='I',
    type=number(ranges.Whole),
    help="this one's number, from 0",
  )


def add_always(parser):
  """Declares the flags that every verb has."""
  use = 'always'
  parser.add(
    use, '--debug', action='store_true', help="show a mistake's traceback"
  )
  parser.add(
    use,
    '--allow_code',
    metavar='MODULES',
    default='',
    help='modules, with commas, that a folder which is opened may name, and so '
    f'run; also {plugins.ALLOW}=MODULES in the environment',
  )
  parser.add(use, '--help', action='store_true', help='show this')
