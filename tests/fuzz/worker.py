"""The process that reads: watched, bounded, and on to the next case."""

import ctypes
import faulthandler
import gc
import os
import random
import resource
import signal
import sys
import sysconfig
import traceback
from pathlib import Path

from ctxlm.errors import UserError
from tests.fuzz import mutations, targets

GOOD = 'read', 'refused'
SECONDS = 5  # of all cores; a case that takes more hangs
WAITS = 60  # of the clock, for one that sleeps
MEMORY = 6 * 2**30  # bytes beside what the process has at first
LONGEST = 1000  # characters of a line
# Where Python and its packages lie, and what they ask of the system.
HOME = tuple(
  str(Path(p).resolve())
  for p in (
    *(sysconfig.get_paths()[k] for k in ('stdlib', 'purelib', 'platlib')),
    sys.prefix,
    sys.base_prefix,
    Path(__file__).parents[2],
  )
)
SYSTEM = ('/proc/', '/sys/', '/dev/null', '/dev/urandom', '/dev/shm/', '/etc/')
EVENTS = (
  'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn',
  'os.fork', 'os.forkpty', 'os.startfile', 'pty.spawn', 'socket.connect',
  'socket.bind', 'socket.getaddrinfo', 'ctypes.dlopen', 'shutil.rmtree',
)  # fmt: skip
IN_OPEN = 0x20


class Watch:
  """Files and programs that are opened outside of a folder."""

  def __init__(self, outside):
    """Watches, from the first `begin` on.

    Args:
      outside: pathlib.Path of a folder that nobody is to read. The kernel
        tells who does, for libraries that open files past Python.
    """
    self._rooms, self.escapes = None, []
    self._libc = ctypes.CDLL(None, use_errno=True)
    self._notes = self._libc.inotify_init1(os.O_NONBLOCK)
    for path in (outside, *outside.iterdir()):
      where = os.fsencode(path)
      self._libc.inotify_add_watch(self._notes, where, IN_OPEN)
    sys.addaudithook(self._hook)

  def begin(self, *rooms):
    """Takes the folders that a case may open."""
    self._drain()
    self.escapes, self._rooms = [], tuple(f'{r}/' for r in rooms)

  def end(self):
    """Returns what was opened elsewhere since, in words."""
    self._rooms = None
    if self._drain():
      self.escapes.append('the folder outside')
    return self.escapes

  def _drain(self):
    try:
      return os.read(self._notes, 2**16)
    except BlockingIOError:
      return b''

  def _hook(self, event, args):
    if self._rooms is None:
      return
    if event == 'open' and isinstance(args[0], (str, bytes)):
      path = os.path.realpath(os.fsdecode(args[0]))
      if not (path + '/').startswith((*self._rooms, *HOME, *SYSTEM)):
        self.escapes.append(f'open {path}')
    elif event in EVENTS and not self._ours(event, args):
      self.escapes.append(f'{event} {args!r}'[:200])

  def _ours(self, event, args):
    return event == 'shutil.rmtree' and str(args[0]).startswith(self._rooms)


def make(top):
  """Makes the folders that cases begin with, in top/made; and top/outside."""
  for name in ('made', 'outside'):
    (top / name).mkdir()
  (top / 'outside' / 'secret.json').write_text('{"secret": 1}')
  targets.make(top / 'made')


def work(top, seed, pipe):
  """Runs cases for ever; sends what is done, then (outcome, details).

  Args:
    top: pathlib.Path with `made`, the folders of targets.make.
    seed: of the first case; those of the others follow.
    pipe: end of a multiprocessing.Pipe.
  """
  errors = open(top / 'errors', 'w+b', buffering=0)  # noqa: SIM115
  os.dup2(errors.fileno(), 2)
  faulthandler.enable(errors)
  outside = top / 'outside'
  case = top / 'case'
  case.mkdir(exist_ok=True)
  os.environ['CTXLM_CACHE'] = str(case / 'other_cache')
  path, warm = case / 'folder', set()
  watch = Watch(outside)
  _bound()
  while True:
    rng = random.Random(seed)
    name = rng.choice(list(targets.READERS))
    whole = top / 'made' / targets.source_of(name)
    mutations.copy(whole, path)
    if name not in warm:  # what is imported and compiled at first takes longer
      targets.read(name, path)
      warm.add(name)
      mutations.copy(whole, path)
    done = mutations.spoil(path, outside, rng)
    pipe.send(f'{name}: {done}')
    errors.truncate(0)
    errors.seek(0)
    _alarm(SECONDS, WAITS)
    watch.begin(case)
    outcome, details = run(name, path)
    escapes = watch.end()
    _alarm(0, 0)
    said = Path(top / 'errors').read_text(errors='replace')
    if escapes:
      outcome, details = 'escape', '; '.join(escapes)
    elif 'panicked' in said and outcome == 'refused':
      outcome, details = 'panic', said[:600]
    pipe.send((outcome, details))
    seed += 1
    if seed % 50 == 0:
      gc.collect()


def run(name, path):
  """Returns ('read', ''), ('refused', line) or (fault, details)."""
  try:
    targets.read(name, path)
    return 'read', ''
  except UserError as e:
    line = str(e)
    if '\n' in line or len(line) > LONGEST or not line.isprintable():
      return 'no line', repr(line)[:2000]
    return 'refused', line
  except BaseException:  # a panic of Rust is no Exception
    return 'traceback', traceback.format_exc()


def _bound():
  pages = int(Path('/proc/self/statm').read_text().split()[0])
  used = pages * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
  for number in (signal.SIGPROF, signal.SIGALRM):
    signal.signal(number, signal.SIG_DFL)  # which ends the process


def _alarm(used, waited):
  signal.setitimer(signal.ITIMER_PROF, used)
  signal.setitimer(signal.ITIMER_REAL, waited)
