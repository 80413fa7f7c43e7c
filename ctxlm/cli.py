"""The command line: `ctxlm VERB --flags`, the same as `python -m ctxlm VERB`.

A user's mistake is one line on standard error and exit status 2; `--debug`
shows the traceback.
"""

import importlib
import os
import sys
from pathlib import Path

from absl import flags, logging

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


HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def main(argv=None):
  """Runs `ctxlm VERB ...`."""
  begun = argv is None  # by the shell, and not by another of our processes
  argv = list(sys.argv if begun else argv)
  verb = argv[1] if len(argv) > 1 else ''
  if verb in ('', 'help', '-h', '--help'):
    print('usage: ctxlm VERB --flags   (ctxlm VERB --help lists them)\n')
    for name, text in VERBS.items():
      print(f'  {name:<10}{text}')
    return 0 if verb else 2
  if verb not in VERBS:
    from ctxlm.plugins import suggest

    print(f'ctxlm: no verb {verb!r}.{suggest(verb, VERBS)}', file=sys.stderr)
    return 2
  if begun:
    use_huge_pages()
  module = importlib.import_module(f'ctxlm.commands.{verb}')
  return run(verb, module, [f'ctxlm {verb}', *argv[2:]])


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
  flags.DEFINE_integer('num_processes', None, 'how many processes there are')
  flags.DEFINE_integer('process_id', None, "this process's number, from 0")


def run(verb, module, argv):
  """Parses a verb's flags, calls its `main()`; a mistake is one line.

  Args:
    verb: its name.
    module: with `define_flags()` and `main()`, which returns an exit status;
      where it has `takes_arguments`, main gets what is no flag of its own.
    argv: command line.
  """
  # A researcher's own modules, and `configs`, lie where the command is run.
  if os.getcwd() not in sys.path:
    sys.path.insert(0, os.getcwd())
  flags.DEFINE_bool('debug', False, 'show the traceback of a mistake')
  module.define_flags()
  debug = any(a in ('--debug', '-debug', '--debug=true') for a in argv)
  try:
    takes = getattr(module, 'takes_arguments', False)
    rest = _parse(argv, takes)
    if len(rest) > 1 and not takes:
      raise UserError(f'unexpected argument {rest[1]!r}: flags begin with --')
    logging.use_absl_handler()
    logging.set_verbosity(logging.ERROR)
    sys.exit(module.main(*([rest[1:]] if takes else [])) or 0)
  except (UserError, flags.Error) as e:
    if debug:
      raise
    print(f'ctxlm {verb}: {_short(e)}', file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    if debug:
      raise
    sys.exit(130)  # as shells say it


def _parse(argv, known_only):
  try:
    return flags.FLAGS(argv, known_only=known_only)
  except (flags.Error, UserError):
    raise
  except OSError as e:  # ml_collections keeps a failed load until it is read
    raise UserError('--config: no such recipe') from e
  except Exception as e:  # whatever a recipe's own code raises
    raise UserError(f'config: {_short(e)}') from e


def _short(error):
  """Returns an error's point as one line.

  ml_collections lists all keys before a suggestion, says no more than the
  key's name where it has none, and puts whole tracebacks into its errors.
  """
  text = str(error)
  if isinstance(error, KeyError) and error.args:  # its str is a repr
    text = str(error.args[0])
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  if 'Traceback (most recent call last):' in text:
    return lines[-1]
  if isinstance(error, (KeyError, AttributeError)):
    hint = lines[-1] if lines[-1].startswith('Did you mean') else ''
    lines = [lines[0].split(' Other fields present')[0].rstrip('.')]
    if ' ' not in lines[0]:
      lines = [f'the recipe has no key {lines[0]}']
    lines = [f'{lines[0]}. {hint}' if hint else lines[0]]
  return ' '.join(' '.join(lines).split()) or type(error).__name__
