"""Shared set-up: eight simulated devices, and a tokenizer made of nothing."""

import atexit
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
def text(tmp_path_factory):
  """The text file of tests/tiny.py."""
  from tests import tiny

  path = tiny.write_text(tmp_path_factory.mktemp('tiny') / 'text.txt')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TINY_TEXT', str(path))
    yield path


@pytest.fixture(scope='session')
def runs(text, tmp_path_factory):
  """A few steps of each objective of tests/tiny.py; {name: Run}."""
  from ctxlm.training import loop, run_folder
  from tests import tiny

  folder = tmp_path_factory.mktemp('runs')
  found = {}
  for name in ('causal', 'mlm', 'contrastive'):
    c = tiny.get_config(name)
    c.num_steps, c.checkpoint.every_steps = 4, 0
    loop.train(c, folder / name)
    found[name] = run_folder.load(folder / name)
  return found


@pytest.fixture(scope='session')
def loaded(runs):
  """The runs, opened as the commands open them; {name: Loaded}."""
  from ctxlm.inference import loading

  return {name: loading.load(run.workdir) for name, run in runs.items()}
