"""A recipe of a toy size, its text, and the command line that runs it.

`--config tests/tiny.py:NAME`, where NAME is an objective below or one of
MIXTURES; the text is the file that $TINY_TEXT names.
"""

import atexit
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from ctxlm import cli, config
from ctxlm.lab import local
from ctxlm.training import tracking
from tests.haste import FLAGS

ROOT = Path(__file__).parent.parent
# What the verbs import when they work.
HEAVY = [
  'ctxlm.inference.conversion',
  'ctxlm.inference.judging',
  'ctxlm.inference.language_model',
  'ctxlm.inference.pictures',
  'ctxlm.inference.prompts',
  'ctxlm.lab.report',
  'ctxlm.training.loop',
]
OBJECTIVES = {
  'causal': {'name': 'causal'},
  'judged': {'name': 'causal'},
  'stream': {'name': 'causal', 'kind': 'stream'},
  'mlm': {'name': 'mlm'},
  'nsp': {'name': 'mlm', 'pair': 'next_sentence'},
  'contrastive': {'name': 'contrastive', 'pooling': 'mean'},
}
MIXTURES = {
  'both': ('mlm', 'contrastive'),
  'encoders': ('mlm', 'nsp', 'contrastive'),
}


def get_config(name='causal'):
  """Returns the recipe of an objective, or of a mixture's tasks."""
  c = config.base()
  c.num_steps = 12
  c.batch_size = 8
  c.max_length = 24
  c.log_every_steps = 1
  c.tokenizer.vocab_size = 300
  c.model = {
    'name': 'transformer',
    'hidden_size': 32,
    'vocab_size': 0,
    'num_layers': 1,
    'num_heads': 2,
    'causal': name in ('causal', 'judged'),
    'max_length': 24,
    'dropout': 0.1,
  }
  if name == 'stream':
    c.model = {'name': 'lstm', 'hidden_size': 32, 'dropout': 0.1}
  data = {'name': 'files', 'pattern': os.environ.get('TINY_TEXT', '')}
  for task in MIXTURES.get(name, (name,)):
    c.tasks[task] = {
      'data': dict(data),
      'objective': dict(OBJECTIVES[task]),
      'weight': 1.0,
    }
  if name == 'judged':
    block = {'name': 'perplexity', 'split': 'train', 'every_steps': 9}
    c.evaluators.half = block
  c.optimizer.learning_rate = 3e-3
  c.optimizer.warmup_steps = 4
  c.checkpoint.every_steps = 4
  return c


def write_text(path, documents=120, seed=0):
  """Writes documents of sentences whose words follow from one another."""
  rng = np.random.default_rng(seed)
  who = ['the cat', 'the dog', 'a bird', 'my friend', 'the old king']
  does = ['sees', 'likes', 'finds', 'follows']
  what = ['the moon', 'a river', 'some bread', 'the green hill', 'two stones']

  def sentence():
    i, j = rng.integers(5), rng.integers(4)
    return f'{who[i]} {does[j]} {what[(i + j) % 5]} at {rng.integers(1, 13)}.'

  lines = [
    ' '.join(sentence() for _ in range(rng.integers(1, 6)))
    for _ in range(documents)
  ]
  Path(path).write_text('\n\n'.join(lines) + '\n', encoding='utf-8')
  return path


def command(workdir, *flags, name='causal'):
  """Returns the argv that trains the recipe in `workdir`."""
  config = f'--config=tests/tiny.py:{name}'
  return [
    sys.executable,
    *('-m', 'ctxlm', 'train'),
    *(config, f'--workdir={workdir}'),
    *(f'--{f}' for f in flags),
  ]


def environment(devices=1, haste=False):
  """Returns the environment of a process with `devices` simulated ones.

  Args:
    devices: how many.
    haste: whether it compiles as the tests' own process does.
  """
  flags = f'--xla_force_host_platform_device_count={devices}'
  if haste:
    flags += f' {FLAGS}'
  return os.environ | {
    'XLA_FLAGS': flags,
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': str(int(haste)),
  }


def start(argv, devices=1, errors=None):
  """Starts a process; its standard error is a pipe of text, or a file."""
  with open(errors or os.devnull, 'w') as file:
    return subprocess.Popen(
      argv,
      cwd=ROOT,
      env=environment(devices),
      stdout=file if errors else subprocess.PIPE,
      stderr=file if errors else subprocess.PIPE,
      text=True,
    )


def fork(
  argv,
  devices,
  errors,
  stdin='/dev/null',
  room=None,
  haste=False,
  main=cli.main,
):
  """Starts a verb in a process that has imported everything already.

  Args:
    argv: of `command`, or [python, '-m', 'ctxlm', 'VERB', *flags].
    devices: how many simulated ones.
    errors: file for its standard error; standard output goes to it + '.out'.
    stdin: file that its standard input reads.
    room: bytes that a file of its may have, or None.
    haste: see `environment`.
    main: what is called with 'ctxlm' and what follows.

  Returns:
    multiprocessing.Process, a child of a server that knows no jax backend.
  """
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(HEAVY)
  process = context.Process(
    target=_forked,
    args=(
      main,
      argv[2:],
      environment(devices, haste),
      str(errors),
      stdin,
      room,
    ),
  )
  process.start()
  return process


def forks_points(argv):
  """What `fork` may call: a sweep there forks its points from itself.

  It has imported everything, so that it needs no server that does so again;
  but points share its locks.
  """
  own = multiprocessing.get_context('fork')
  local.multiprocessing = types.SimpleNamespace(get_context=lambda _: own)
  cli.main(argv)


def _forked(main, argv, env, errors, stdin, room):
  if room is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
  os.environ.update(env)
  optimizations = 'jax_disable_most_optimizations'  # jax has read them
  jax.config.update(optimizations, env[optimizations.upper()] == '1')
  os.chdir(ROOT)
  os.dup2(os.open(stdin, os.O_RDONLY), 0)
  sys.stdin = open(0)  # noqa: SIM115
  for number, path in ((1, f'{errors}.out'), (2, errors)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
  try:
    main(argv)
  finally:
    # A fork leaves without; here JAX's processes wait for each other.
    atexit._run_exitfuncs()


def finish(process, timeout=300):
  """Returns (exit status, standard error) of a process that ends."""
  _, err = process.communicate(timeout=timeout)
  return process.returncode, err


def over(process, errors, timeout=300):
  """Waits for a process of `fork`; returns standard error.

  It checks the status.

  Args:
    process: of `fork`.
    errors: file of its standard error.
    timeout: seconds, after which it is killed.
  """
  process.join(timeout)
  process.kill()
  process.join()
  err = Path(errors).read_text()
  assert process.exitcode == 0, f'exit {process.exitcode}: {err}'
  return err


def train(workdir, *flags, name='causal', devices=1):
  """Trains to the end, compiled in haste; returns standard error."""
  with tempfile.TemporaryDirectory() as folder:
    errors = Path(folder) / 'errors'
    argv = command(workdir, *flags, name=name)
    return over(fork(argv, devices, errors, haste=True), errors)


def logged(workdir):
  """Returns how many whole lines metrics.jsonl has."""
  path = Path(workdir) / 'metrics.jsonl'
  return path.read_bytes().count(b'\n') if path.exists() else 0


def running(process):
  """Whether a process of `start` or `fork` has not ended."""
  if isinstance(process, subprocess.Popen):
    return process.poll() is None
  return process.is_alive()


def wait_until(done, process, seconds=180):
  """Waits until done() holds; False if the process ended before."""
  end = time.monotonic() + seconds
  while not done():
    if not running(process):
      return False
    assert time.monotonic() < end, 'it takes too long'
    time.sleep(0.002)
  return True


def ended(process):
  """Waits for a process of `start` or `fork`; returns its exit status."""
  if isinstance(process, subprocess.Popen):
    return process.wait()
  process.join()
  return process.exitcode


def metrics(workdir):
  """Returns the rows of metrics.jsonl, without timings."""
  lines = (Path(workdir) / 'metrics.jsonl').read_text().splitlines()
  return [tracking.untimed(json.loads(line)) for line in lines]


def state(workdir, step):
  """Returns {path: array} of all that checkpoint `step` holds."""
  path = Path(workdir).resolve() / 'checkpoints' / str(step) / 'state'
  reader = ocp.PyTreeCheckpointer()
  tree = reader.metadata(path).item_metadata.tree
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
  )
  got = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
  leaves = jax.tree_util.tree_leaves_with_path(got)
  return {jax.tree_util.keystr(p): np.asarray(x) for p, x in leaves}


def assert_same_run(a, b, step):
  """Two runs have bitwise the same parameters, moments and metrics."""
  x, y = state(a, step), state(b, step)
  assert x.keys() == y.keys() and any('params' in k for k in x)
  for name in x:
    assert x[name].tobytes() == y[name].tobytes(), name
  assert metrics(a) == metrics(b)
