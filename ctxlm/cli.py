"""The command line: `ctxlm VERB --flags`, the same as `python -m ctxlm VERB`.

A user's mistake is one line on standard error and exit status 2; `--debug`
shows the traceback.
"""

import ast
import importlib
import inspect
import os
import re
import sys
from pathlib import Path

from absl import flags, logging

from ctxlm import plugins
from ctxlm.errors import UserError

VERBS = {
  'train': 'train the config, or go on with an interrupted run',
  'sweep': 'train all points of an experiment',
  'report': "judge an experiment's claims, or compare runs",
  'evaluate': "run a config's evaluators on a checkpoint",
  'score': "print each token's log-probability in its context",
  'fill': 'print the best tokens for each [MASK]',
  'generate': 'write text after a prompt, or after each of a file',
  'chat': 'talk with a model of dialogues',
  'embed': 'write a vector for each line of a text file',
  'convert': "read and write others' checkpoints",
  'attend': 'draw the attention of a word, by layer and head',
}


# What Python says of a value, and what a user is told.
NUMBERS = (
  (
    r'invalid literal for int\(\) with base 10: .*',
    'it must be a whole number',
  ),
  (r'could not convert string to float: .*', 'it must be a number'),
)
INTERRUPTED, NO_READER = 130, 141  # as shells say it
MEMORY = re.compile(r'MemoryError|RESOURCE_EXHAUSTED|Out of memory')
HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def main(argv=None):
  """Runs `ctxlm VERB ...`."""
  begun = argv is None  # by the shell, and not by another of our processes
  argv = list(sys.argv if begun else argv)
  verb = argv[1] if len(argv) > 1 else ''
  if verb in ('', 'help', '-h', '--help'):
    print('usage: ctxlm VERB --flags   (ctxlm VERB --help lists them)')
    print('the same as: python -m ctxlm VERB --flags\n')
    for name, text in VERBS.items():
      print(f'  {name:<10}{text}')
    return 0 if verb else 2
  if verb not in VERBS:
    print(
      f'ctxlm: no verb {verb!r}.{plugins.suggest(verb, VERBS)}', file=sys.stderr
    )
    return 2
  if begun:
    prepare_streams()
    use_huge_pages()
  try:
    module = importlib.import_module(f'ctxlm.commands.{verb}')
  except KeyboardInterrupt:
    return INTERRUPTED
  return run(verb, module, [f'ctxlm {verb}', *argv[2:]])


class Lasting:
  """A stream whose reader may go: what is written then is dropped."""

  def __init__(self, stream):
    self._stream = stream

  def __getattr__(self, name):
    return getattr(self._stream, name)

  def write(self, text):
    """Writes, as the stream does."""
    self._outlive(self._stream.write, text)
    return len(text)

  def flush(self):
    """Flushes, as the stream does."""
    self._outlive(self._stream.flush)

  def _outlive(self, function, *args):
    try:
      function(*args)
    except BrokenPipeError:
      to_nowhere(self._stream)


def to_nowhere(stream):
  """Lets what a stream still holds, and what is written to it, be dropped."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, stream.fileno())
  os.close(nowhere)


def prepare_streams():
  """Makes the standard streams ones that any text can be written to.

  One that is closed is the null device, as a file opened later would take its
  number; what an encoding lacks is escaped. A training goes on when nobody
  reads its progress any more.
  """
  while True:
    number = os.open(os.devnull, os.O_RDWR)
    if number > 2:
      os.close(number)
      break
  names = ('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')
  for number, (name, mode) in enumerate(names):
    if getattr(sys, name) is None:
      setattr(sys, name, os.fdopen(number, mode))
  for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(errors='backslashreplace')
  sys.stderr = Lasting(sys.stderr)


def use_huge_pages():
  """Begins the process anew with huge pages, where Linux gives them if asked.

  XLA's CPU client takes a step's buffers from malloc and gives them back;
  with small pages, their faults are a tenth of a step. glibc reads this
  setting at its start only.
  """
  if 'GLIBC_TUNABLES' in os.environ or not HUGE_PAGES.exists():
    return
  if '[madvise]' in HUGE_PAGES.read_text():
    os.environ['GLIBC_TUNABLES'] = 'glibc.malloc.hugetlb=1'
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def define_run_flags(workdir=None):
  """Defines the flags of verbs that open a run folder."""
  flags.DEFINE_string('workdir', workdir, 'run folder')
  flags.DEFINE_string('step', '', "'' is the newest, 'best', or a number")


def define_process_flags():
  """Defines the flags of verbs that run over several processes."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0')
  flags.DEFINE_integer(
    'num_processes', None, 'how many processes there are', lower_bound=1
  )
  flags.DEFINE_integer(
    'process_id', None, "this process's number, from 0", lower_bound=0
  )


def run(verb, module, argv):
  """Parses a verb's flags, calls its `main()`; a mistake is one line.

  Args:
    verb: its name.
    module: with `define_flags()` and `main()`, which returns an exit status;
      a main(arguments) is given what is no flag of its own.
    argv: command line.
  """
  flags.DEFINE_bool('debug', False, 'show the traceback of a mistake')
  flags.DEFINE_list(
    'allow_code',
    [],
    'modules that a folder which is opened may name, and so run; also '
    f'{plugins.ALLOW}=MODULE in the environment',
  )
  module.define_flags()
  debug = any(a in ('--debug', '-debug', '--debug=true') for a in argv)
  if verb in RUN_CODE:
    find_own_modules()
  try:
    takes = bool(inspect.signature(module.main).parameters)
    rest = _parse(argv, takes)
    if len(rest) > 1 and not takes:
      raise UserError(f'unexpected argument {rest[1]!r}: flags begin with --')
    logging.use_absl_handler()
    logging.set_verbosity(logging.ERROR)
    _allow_code(flags.FLAGS.allow_code)
    _check_paths()
    status = module.main(*([rest[1:]] if takes else [])) or 0
    sys.stdout.flush()
    sys.exit(status)
  except BrokenPipeError:  # of standard output: who read it has enough
    to_nowhere(sys.stdout)
    sys.exit(NO_READER)
  except OSError as e:
    if debug:
      raise
    what = f'{e.filename}: {e.strerror}' if e.filename else str(e)
    print(f'ctxlm {verb}: {_short(what)}', file=sys.stderr)
    sys.exit(2)
  except (UserError, flags.Error) as e:
    if debug:
      raise
    print(f'ctxlm {verb}: {_short(e)}', file=sys.stderr)
    sys.exit(2)
  except (MemoryError, RuntimeError) as e:  # numpy's and JAX's
    if debug or not MEMORY.search(f'{type(e).__name__}: {e}'):
      raise
    print(
      f'ctxlm {verb}: not enough memory, {_short(e)}: make the model, the '
      'batch or the rows smaller',
      file=sys.stderr,
    )
    sys.exit(2)
  except KeyboardInterrupt:
    if debug:
      raise
    sys.exit(INTERRUPTED)


# Their recipes and experiments are code, which may import what lies beside.
RUN_CODE = ('train', 'sweep', 'report')


def find_own_modules():
  """Lets Python find modules in the current folder, after all installed ones.

  Whose folder it is, is not known, so it may shadow nothing.
  """
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())


def _allow_code(modules):
  if modules:
    old = os.environ.get(plugins.ALLOW)
    os.environ[plugins.ALLOW] = ','.join([*modules, *([old] if old else [])])
  if os.environ.get(plugins.ALLOW):
    find_own_modules()


PATHS = ('workdir', 'model', 'input', 'output', 'out', 'from', 'to', 'to-hf')


def _check_paths():
  # A path that nothing was said of, or that no shell has expanded.
  for name in PATHS:
    if name in flags.FLAGS and (value := flags.FLAGS[name].value) is not None:
      if not value:
        raise UserError(f'--{name} is empty: name a file or a folder')
      flags.FLAGS[name].value = os.path.expanduser(value)


def _parse(argv, known_only):
  try:
    return flags.FLAGS(argv, known_only=known_only)
  except (flags.Error, UserError):
    raise
  except OSError as e:  # ml_collections keeps a failed load until it is read
    raise UserError('--config: no such recipe') from e
  except Exception as e:  # whatever a recipe's own code raises
    raise UserError(f'{_flag_of(e, argv)}: {_short(e)}') from e


def _text(error):
  """Returns an error's text; a KeyError's is a repr, or a repr of one."""
  text = str(error)
  while text[:1] in ('"', "'") and text[-1:] == text[:1]:
    try:
      text = str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
      break
    if re.fullmatch(r'\w+', text):  # a bare name
      return repr(text)
  return text


def _missing(error):
  """Returns the key that ml_collections looked for in vain, or None."""
  if isinstance(error, (KeyError, AttributeError)):
    wanted = r"""['"](\w+)['"]$|Key "(\w+)" does not|.*lookup: ([\w.]+)$"""
    match = re.match(wanted, _text(error), re.MULTILINE)
    return match and match[match.lastindex]


def _flag_of(error, argv):
  """Returns the flag of the command line that an error is about: '--config.x'.

  'config' where it is none: then the recipe's own code made the mistake.
  """
  last = (_missing(error) or '').split('.')[-1]
  names = [argument.split('=')[0] for argument in argv]
  return next(
    (n for n in names if n[:9] == '--config.' and last in n.split('.')),
    'config',
  )


def _short(error):
  """Returns an error's point as one line.

  ml_collections lists all keys before a suggestion, says no more than the
  key's name where it has none, and puts whole tracebacks into its errors.
  """
  text = error if isinstance(error, str) else _text(error)
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  if 'Traceback (most recent call last):' in text:
    return lines[-1]
  if key := _missing(error):
    near = re.search(r'Did you mean "([^"]+)"', text)
    hint = f' Did you mean {near[1]!r}?' if near else ''
    return f'the recipe has no key {key!r}.{hint}'
  line = ' '.join(' '.join(lines).split()) or type(error).__name__
  for python, ours in NUMBERS:
    line = re.sub(python, ours, line)
  return line
