"""Recipes and experiments whose code fails: the line names its file and line.

Files of other people's making: text that is none, names that are none.
"""

from pathlib import Path

from tests import toy
from tests.mistakes import Case, train
from tests.mistakes.disks import swept

TOY = Path(toy.__file__).read_text()
SWEEP = 'sweep', '{tmp}/mine.py', '--workdir={tmp}/new', '--seeds=1'
REPORT = 'report', '{tmp}/mine.py', '--workdir={tmp}/new'


def recipe(text):
  """Returns a `make` of {tmp}/mine.py."""
  return lambda tmp, _: (tmp / 'mine.py').write_text(text)


def experiment(function, line, report=False):
  """Returns a `make` of {tmp}/mine.py, the toy with a function of one line.

  Args:
    function: 'NAME(ARGUMENTS)', of tests/toy.py or a new one.
    line: all that it does.
    report: whether there is a sweep's folder of it.
  """

  def make(tmp, folders):
    text = f'{TOY}\n\ndef {function}:\n  {line}\n'
    (tmp / 'mine.py').write_text(text)
    if report:
      swept(tmp, folders)
      plan = tmp / 'new' / 'sweep.json'
      plan.write_text(plan.read_text().replace('tests/toy.py', 'mine.py'))

  return make


LINE = len(TOY.splitlines()) + 4  # of the function that is put at the end
AT = rf'/mine.py, line {LINE}: '


def loop(tmp, _):
  """Makes {tmp}/mine.py and a module that import each other."""
  text = 'from {} import {}\ndef get_config(): pass\n'
  (tmp / 'mine.py').write_text(text.format('beside', 'Thing'))
  (tmp / 'beside.py').write_text(
    'from mine import get_config\nclass Thing: pass'
  )


def latin(name):
  """Returns a `make` of a text file that is no UTF-8 in its second line."""
  return lambda tmp, _: (tmp / name).write_bytes(b'one\ntw\xf6\n')


RECIPES = {
  'a recipe that ends the process': (
    'import sys\ndef get_config():\n  sys.exit(3)\n',
    '/mine.py, line 3: SystemExit: 3$',
  ),
  'a recipe that ends the process when it is read': (
    'raise SystemExit\n',
    '/mine.py, line 1: SystemExit',
  ),
  'a recipe that returns nothing': (
    'def get_config():\n  pass\n',
    'must return the config$',
  ),
  'a recipe that does not parse': (
    'def get_config():\n  return (\n',
    '/mine.py, line 2: SyntaxError: ',
  ),
  'a recipe that divides by zero': (
    'def get_config():\n  return 1 / 0\n',
    '/mine.py, line 2: ZeroDivisionError: division by zero$',
  ),
}
SWEPT = {
  'sweep(scale)': {
    'return None': r'sweep\(\) returns None$',
    'return []': r'sweep\(\) yields nothing$',
    'return [3]': 'yields 3, which maps no keys$',
    "return [{'num_steps': {1, 2}}]": 'set is not JSON serializable$',
    'return 1 / 0': AT + 'ZeroDivisionError: division by zero$',
    'raise SystemExit(4)': AT + 'SystemExit: 4$',
  },
  'get_config(scale)': {
    'return None': r'get_config\(\) must return the config$',
    'return missing': AT + "NameError: name 'missing' is not defined$",
  },
}
REPORTED = {
  'criteria()': {
    'return None': r'criteria\(\) returns None$',
    'return [missing]': AT + "NameError: name 'missing' is not defined$",
    "return [experiment.Claim('a', 'b', 'c', 'd', lambda r: None)]": (
      "the check of 'a' returns no Finding$"
    ),
    "return [experiment.Claim('a', 'b', 'c', 'd', lambda r: 1 / 0)]": (
      AT + 'ZeroDivisionError'
    ),
  },
  'report(results)': {
    'return None': r'report\(\) returns None$',
    'return [3]': "'int' object has no attribute",
    'raise SystemExit(4)': AT + 'SystemExit: 4$',
  },
}
EMBED = 'embed', '--model={mlm}', '--pooling=mean', '--output={tmp}/a.npy'
GENERATE = 'generate', '--model={run}', '--output={tmp}/out.jsonl'
CASES = [
  *(
    Case(name, train(recipe='{tmp}/mine.py'), wanted, recipe(text))
    for name, (text, wanted) in RECIPES.items()
  ),
  Case(
    'a recipe and a module that import each other',
    train(recipe='{tmp}/mine.py'),
    '/mine.py, line 1: ImportError: cannot import name',
    loop,
  ),
  *(
    Case(
      f'sweep: {function}: {line}', SWEEP, wanted, experiment(function, line)
    )
    for function, lines in SWEPT.items()
    for line, wanted in lines.items()
  ),
  *(
    Case(
      f'report: {function}: {line}',
      REPORT,
      wanted,
      experiment(function, line, True),
      writes=function.startswith('report'),
    )
    for function, lines in REPORTED.items()
    for line, wanted in lines.items()
  ),
  Case(
    'sweep: an experiment that names no seeds',
    SWEEP,
    r'mine.py names no seeds: say SEEDS = verdicts.Seeds\(',
    recipe(TOY.replace('SEEDS = ', 'OTHERS = ')),
  ),
  Case(
    'sweep: points without an end',
    (*SWEEP[:3], '--seeds=2000000000'),
    'more than 100,000 points$',
    recipe(TOY),
  ),
  *(
    Case(f'sweep {flag}', (*SWEEP, flag), wanted, recipe(TOY))
    for flag, wanted in {
      '--ray_cpus=nan': 'ray_cpus.* must be .*0 or more',
      '--ray_gpus=inf': 'ray_gpus.* must be .*0 or more',
      '--ray_resources=TPU': "say NAME=COUNT,..., such as 'TPU=4,host=1'$",
      '--ray_resources=TPU=nan': 'say NAME=COUNT',
      '--jobs=0': 'jobs.* must be .*1 or more',
      '--asha_reduction=1': 'asha_reduction.* must be .*2 or more',
      '--asha_least=0': 'asha_least.* must be .*1 or more',
    }.items()
  ),
  Case(
    'a warm-up that is longer than the run',
    train('config.optimizer.warmup_steps=13'),
    'warmup_steps=13 is more than config.num_steps=12: lower the former$',
  ),
  Case(
    'embed: a text that is no Unicode',
    (*EMBED, '--input={tmp}/latin'),
    'latin is not UTF-8: byte 0xf6 in line 2; convert it',
    latin('latin'),
  ),
  Case(
    'generate: prompts that are no Unicode',
    (*GENERATE, '--input={tmp}/latin.jsonl'),
    'not UTF-8: byte 0xf6 in line 2|line 1: not an object',
    latin('latin.jsonl'),
  ),
  Case(
    'train: a folder whose name is no Unicode',
    (*train(), '--workdir={tmp}/\udcff'),
    r'work/.udcff: its name is no UTF-8; name another$',
  ),
  Case(
    'sweep: a folder whose name is no Unicode',
    ('sweep', 'tests/toy.py', '--workdir={tmp}/\udcff'),
    r'work/.udcff: its name is no UTF-8; name another$',
  ),
  Case(
    'train: a text whose name is no Unicode',
    train('config.tasks.causal.data.pattern={tmp}/\udcff.txt'),
    'no file matches',
  ),
  Case(
    'embed: no text of a name that is no Unicode',
    (*EMBED, '--input={tmp}/\udcff'),
    'No such file|no file',
  ),
]
