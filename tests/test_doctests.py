"""The examples in docstrings hold, and what users call from Python has one."""

import doctest
import functools
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# All public functions of these modules have an example.
WHOLE = ('ctxlm.experiments.theory', 'ctxlm.models.positions')
OF_A_RUN = ('ctxlm', 'ctxlm.load')  # their examples need a checkpoint
CALLED = (
  'ctxlm',
  'ctxlm.load',
  'ctxlm.config.base',
  'ctxlm.config.check',
  'ctxlm.data.tokenizers.tokenizer.load',
  'ctxlm.data.tokenizers.tokenizer.train',
  'ctxlm.decoding.base',
  'ctxlm.lab.experiment.chain',
  'ctxlm.lab.experiment.product',
  'ctxlm.lab.experiment.zipped',
  'ctxlm.lab.verdicts.interval',
  'ctxlm.models.attention.attention',
  'ctxlm.models.attention.attention_weights',
  'ctxlm.models.attention.make_mask',
  'ctxlm.objectives.losses.accuracy',
  'ctxlm.objectives.losses.cross_entropy',
  'ctxlm.plugins.build',
  'ctxlm.plugins.find',
  'ctxlm.plugins.suggest',
  'ctxlm.ranges.Range',
  'ctxlm.training.optim.schedule',
  'ctxlm.trees.flatten',
  'ctxlm.trees.nest',
)


@functools.cache
def examples():
  """Returns {name: doctest.DocTest} of all docstrings that have one."""
  tests = {}
  for path in sorted((ROOT / 'ctxlm').rglob('*.py')) + [
    ROOT / 'ctxlm/experiments/theory.py'
  ]:
    if '>>>' in path.read_text(encoding='utf-8'):
      parts = path.relative_to(ROOT).with_suffix('').parts
      name = '.'.join(parts).removesuffix('.__init__')
      module = importlib.import_module(name)
      for test in doctest.DocTestFinder().find(module):
        if test.examples:
          tests[test.name] = test
  return tests


def run(test, **names):
  test.globs.update(names)
  runner = doctest.DocTestRunner(
    optionflags=doctest.FAIL_FAST | doctest.ELLIPSIS
  )
  said = []
  runner.run(test, out=said.append)
  assert not runner.failures, ''.join(said)


def test_examples_hold(tmp_path):
  for name, test in examples().items():
    if name not in OF_A_RUN:
      run(test, FOLDER=tmp_path)


@pytest.mark.parametrize('name', OF_A_RUN)
def test_a_run_is_as_the_example_says(runs, name):
  module = importlib.import_module('ctxlm')
  run(examples()[name], ctxlm=module, DIR=runs['causal'].workdir)


@pytest.mark.parametrize('name', CALLED)
def test_what_users_call_has_an_example(name):
  assert name in examples()


@pytest.mark.parametrize('name', WHOLE)
def test_every_function_of_a_module_has_an_example(name):
  module = importlib.import_module(name)
  public = {
    f'{name}.{key}'
    for key, value in vars(module).items()
    if getattr(value, '__module__', '') == name and key[0] != '_'
  }
  assert public and public <= set(examples())
