"""The command line: `ctxlm VERB --flags`, the same as `python -m ctxlm VERB`.

A user's mistake is one line on standard error and exit status 2; `--debug`
shows the traceback.
"""

import _thread
import argparse
import errno
import importlib
import inspect
import os
import re
import signal
import sys
import threading
from pathlib import Path

from absl import logging

import ctxlm
from ctxlm import plugins
from ctxlm.commands import flags
from ctxlm.errors import UserError

VERBS = (
  *('train', 'sweep', 'report', 'evaluate', 'store', 'tune'),
  *('score', 'fill', 'predict', 'generate', 'chat', 'embed', 'attend'),
  *('convert', 'recipes', 'plan'),
)
INTERRUPTED, NO_READER = 130, 141  # as shells say it
MEMORY = re.compile(r'MemoryError|RESOURCE_EXHAUSTED|Out of memory')
HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def main(argv=None):
  """Runs `ctxlm VERB ...`."""
  begun = argv is None  # by the shell, and not by another of our processes
  argv = list(sys.argv if begun else argv)
  if '_ARGCOMPLETE' in os.environ:
    complete()
  verb, *words = argv[1:] or ['']
  if verb == '--version':
    print(f'ctxlm {ctxlm.__version__}')
    return 0
  if verb in ('help', '-h', '--help'):
    verb, words = (words or [''])[0], ['--help']
  if verb and verb not in VERBS:
    print(
      f'ctxlm: no verb {verb!r}.{plugins.suggest(verb, VERBS)}', file=sys.stderr
    )
    return 2
  if not verb:
    show_help()
    return 0 if words else 2
  if begun:
    prepare_streams()
  try:
    module = importlib.import_module(f'ctxlm.commands.{verb}')
  except KeyboardInterrupt:
    return INTERRUPTED
  return run(verb, module, words, begun)


def show_help():
  """Prints what there is."""
  print('usage: ctxlm VERB [--flag=VALUE ...]')
  print('the same as: python -m ctxlm VERB; its flags: ctxlm VERB --help\n')
  for verb in VERBS:
    module = importlib.import_module(f'ctxlm.commands.{verb}')
    first = inspect.getdoc(module).splitlines()[0]
    print(f'  {verb:<10}{first[0].lower()}{first[1:].rstrip(".")}')
  print('\nCompletion in bash: eval "$(register-python-argcomplete ctxlm)"')


def parser_of(verb, module):
  """Returns the flags.Parser of a verb."""
  parser = flags.Parser(verb, module.__doc__)
  module.add_flags(parser)
  flags.add_always(parser)
  return parser


def complete():
  """Answers a shell that asks how the line may go on; see argcomplete."""
  import argcomplete

  top = argparse.ArgumentParser(add_help=False)
  verbs = top.add_subparsers()
  for verb in VERBS:
    module = importlib.import_module(f'ctxlm.commands.{verb}')
    verbs.add_parser(verb, add_help=False, parents=[parser_of(verb, module)])
  argcomplete.autocomplete(top)


class Lasting:
  """A stream whose reader may go, or its disk fill: then it is dropped."""

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
    except OSError:
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


def heed_interrupts():
  """Lets Ctrl-C raise KeyboardInterrupt, wherever it is caught.

  What is raised in a callback of the garbage collector, of which JAX has one,
  is dropped by Python: it is raised again, after that.
  """
  if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  others = sys.unraisablehook

  def again(what):
    if what.exc_type is KeyboardInterrupt:
      threading.Timer(0.01, _thread.interrupt_main).start()
    else:
      others(what)

  sys.unraisablehook = again


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


def run(verb, module, words, begun=False):
  """Reads a verb's flags, calls its `main(F)`; a mistake is one line.

  Args:
    verb: its name.
    module: see ctxlm.commands.flags; its main returns an exit status, or None.
    words: what follows the verb on the command line.
    begun: whether this is the process that a shell began.
  """
  debug = any(word in ('--debug', '--debug=true') for word in words)
  parser = parser_of(verb, module)
  if any(word in ('-h', '--help') for word in words):
    parser.print_help()
    sys.exit()
  try:
    F = parser.read(words)
    _check_paths(F)
    if begun:
      use_huge_pages()
      heed_interrupts()
    if verb in RUN_CODE or vars(F).get('config') or vars(F).get('few_shot'):
      find_own_modules()
    _allow_code(F.allow_code)
    logging.use_absl_handler()
    logging.set_verbosity(logging.ERROR)
    status = module.main(F) or 0
    sys.stdout.flush()
    sys.exit(status)
  except BrokenPipeError:  # of standard output: who read it has enough
    to_nowhere(sys.stdout)
    sys.exit(NO_READER)
  except OSError as e:
    if debug:
      raise
    what = e.strerror or str(e)
    what = f'{e.filename}: {what}' if e.filename else what
    if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      what += '; make room, and run the same command again'
    print(f'ctxlm {verb}: {_short(what)}', file=sys.stderr)
    sys.exit(2)
  except UserError as e:
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
    os.environ[plugins.ALLOW] = ','.join([modules, *([old] if old else [])])
  if os.environ.get(plugins.ALLOW):
    find_own_modules()


PATHS = ('workdir', 'model', 'input', 'output', 'out', 'from_', 'to', 'to_hf')


def _check_paths(F):
  # A path that nothing was said of, or that no shell has expanded.
  for name in PATHS:
    value = vars(F).get(name)
    if value is not None:
      if not value:
        flag = name.strip('_').replace('_', '-')
        raise UserError(f'--{flag} is empty: name a file or a folder')
      setattr(F, name, os.path.expanduser(value))


def _short(error):
  """Returns an error as one line."""
  return ' '.join(str(error).split()) or type(error).__name__
