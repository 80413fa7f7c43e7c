"""Shared set-up: eight simulated devices, and a tokenizer made of nothing."""

import atexit
import contextlib
import fcntl
import gc
import os
import shutil
import tempfile

from tests import haste

# Before jax is imported: tests of pmap and meshes need several devices.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compiling is most of the tests' time, so here it is done in haste: XLA
# optimizes little and fuses by its older emitters, in a third of the time. What
# runs in a process of its own (tests/tiny.py) is compiled as it is for users.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    haste.FLAGS,
  )
)

# What one test, worker or child process has compiled serves the others.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ['CTXLM_CACHE'] = tempfile.mkdtemp(prefix='ctxlm_tests_')
  atexit.register(shutil.rmtree, os.environ['CTXLM_CACHE'], True)

import types
from pathlib import Path

import jax
import numpy as np
import pytest

from ctxlm import errors

compiled = Path(os.environ['CTXLM_CACHE']) / 'compiled'
SHARED = Path(os.environ['CTXLM_CACHE']) / 'shared'  # by all workers
jax.config.update('jax_compilation_cache_dir', str(compiled))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture(scope='module', autouse=True)
def few_collections():
  """What modules and programs leave behind is not searched again and again.

  A full collection of a process that has imported torch and compiled some
  hundred programs takes more than a second.
  """
  gc.freeze()


@pytest.fixture(autouse=True)
def noted():
  """What is said once a process is said in every test again."""
  errors.note.cache_clear()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
  """The suite runs in two processes; files that are named run in this one."""
  return 0 if config.args_source is config.ArgsSource.ARGS else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Lets a worker that is done take tests from the other."""
  from xdist.scheduler import WorkStealingScheduling

  return WorkStealingScheduling(config, log)


@pytest.fixture
def optimized():
  """For tests whose time is running what they compile."""
  jax.config.update('jax_disable_most_optimizations', False)
  yield
  jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture
def tokenizer():
  """Ids 0..4 are pad, cls, sep, mask, eos; text is numbers and spaces."""
  starts = np.ones(50, bool)
  starts[30:] = False  # pieces that go on a word
  return types.SimpleNamespace(
    vocab_size=50,
    pad_id=0,
    own_pad_id=0,
    cls_id=1,
    sep_id=2,
    mask_id=3,
    bos_id=4,
    eos_id=4,
    unk_id=None,
    special_ids={0, 1, 2, 3, 4},
    special_in_data=False,
    template=None,
    pair_template=None,
    word_starts=starts,
    encode=lambda text, data=False: [int(w) for w in text.split()],
  )


@pytest.fixture(scope='session')
def text():
  """The text file of tests/tiny.py, one for all workers."""
  from tests import tiny

  path = SHARED / 'text.txt'
  with once(path) as there:
    if not there:
      tiny.write_text(path)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TINY_TEXT', str(path))
    yield path


@contextlib.contextmanager
def once(path):
  """Holds what all workers share; gives whether one has made it already."""
  SHARED.mkdir(exist_ok=True)
  done = SHARED / f'{path.name}.done'
  with open(SHARED / f'{path.name}.lock', 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield done.exists()
    done.touch()


class Lazy(dict):
  """What `make(name)` gives of each name, made when it is first asked for."""

  def __init__(self, make):
    self._make = make

  def __missing__(self, name):
    self[name] = self._make(name)
    return self[name]


@pytest.fixture(scope='session')
def runs(text):
  """A few steps of an objective of tests/tiny.py; {name: Run}.

  One worker trains for all.
  """
  from ctxlm.training import loop, run_folder
  from tests import tiny

  def make(name):
    folder = SHARED / name
    with once(folder) as there:
      if not there:
        c = tiny.get_config(name)
        c.num_steps, c.checkpoint.every_steps = 4, 0
        for task in c.tasks.values():
          task.data.pattern = str(text)
        loop.train(c, folder)
    return run_folder.load(folder)

  return Lazy(make)


@pytest.fixture(scope='session')
def loaded(runs):
  """The runs, opened as the commands open them; {name: Loaded}."""
  from ctxlm.inference import loading

  return Lazy(lambda name: loading.load(runs[name].workdir))
