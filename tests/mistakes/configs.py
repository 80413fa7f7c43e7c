"""Configs, recipes and folders that `ctxlm train` can't work with."""

import gzip

from tests import tiny
from tests.mistakes import Case, train


def text_file(content):
  """Returns a `make` that writes the {tmp}/text of `of_file`."""
  return lambda tmp, _: (tmp / 'text').write_bytes(content)


of_file = train('config.tasks.causal.data.pattern={tmp}/text')


def recipe(line, name='causal'):
  """Returns a `make` of {tmp}/mine.py, a recipe with the line in it."""
  text = (
    'from tests import tiny\n'
    'def get_config():\n'
    f'  c = tiny.get_config({name!r})\n'
    f'  {line}\n'
    '  return c\n'
  )
  return lambda tmp, _: (tmp / 'mine.py').write_text(text)


def again(*flags):
  """Returns the argv that goes on with {run}, but for the flags."""
  kept = ('config.num_steps=4', 'config.checkpoint.every_steps=0')
  return (*train(*kept, *flags), '--workdir={run}')


def thesis(tmp, _):
  """Makes a folder in the way."""
  (tmp / 'new').mkdir()
  (tmp / 'new' / 'thesis.tex').write_text('years of work')


def other_text(tmp, folders):
  """Makes a run, whose text has changed since."""
  tiny.write_text(tmp / 'text')
  argv = tiny.command(
    tmp / 'new',
    f'config.tasks.causal.data.pattern={tmp}/text',
    'config.num_steps=4',
  )
  process = tiny.fork(argv, 1, tmp / 'errors')
  process.join()
  assert process.exitcode == 0
  tiny.write_text(tmp / 'text', seed=1)


FLAGS = (
  # A key that no config has, at the top and in a block.
  (
    'config.batchsize=8',
    "^ctxlm train: --config.batchsize: no key 'batchsize'. "
    "Did you mean 'batch_size'[?]$",
  ),
  (
    'config.optimizer.learning_rat=1',
    "^ctxlm train: --config.optimizer.learning_rat: no key 'learning_rat' in "
    "config.optimizer. Did you mean 'learning_rate'[?]$",
  ),
  ('config.optimizer.xyzzy=1', "no key 'xyzzy' in config.optimizer. Known: b1"),
  ('config.seed.value=1', "no 'value', as what is above"),
  # Options of plug-ins, and names of plug-ins.
  ('config.model.hidden_sise=8', 'It has: hidden_size, .* more.$'),
  ('config.model.name=transfromer', "'transformer'"),
  ('config.tasks.causal.objective.name=clozed', "named 'clozed'"),
  ('config.tasks.causal.data.name=nofile', "named 'nofile'"),
  # Wrong types and values.
  ('config.num_steps=many', 'num_steps=many: it must be a whole number$'),
  ('config.optimizer.learning_rate=fast', '=fast: it must be a number$'),
  ('config.optimizer.name=adam', "'adamw'"),
  ('config.model.num_heads=5', 'num_heads=5'),
  # What a backend of attention lacks.
  ('config.model.attention_backend=splash', 'splash takes no bias'),
  ('config.model.attention_backend=cudnn', "'auto' takes another$"),
  # No such text.
  ('config.tasks.causal.data.pattern=/none/*.txt', 'no file matches'),
  # More tokens than embeddings.
  ('config.model.vocab_size=200', 'more than config.model.vocab_size=200'),
  ('config.init_from=/none', '/none'),
  ('config.max_length=64', 'more than config.model.max_length=24'),
  ('nonsense=1', 'nonsense'),
)
RECIPES = (
  ('c.num_step = 3', "no key 'num_step'. Did you mean 'num_steps'[?]"),
  ('c.model.hidden_sise = 8', 'model.hidden_sise'),
  ('c.tasks.causal.wieght = 2.0', "Did you mean 'weight'[?]"),
  ("c.optimizer = {'name': 'adamw'}", 'config.optimizer'),
  ('c.batch_size = None', 'config.batch_size=None must be'),
  ('len(3)', r"TypeError: object of type 'int' has no len\(\)"),
  ('import nowhere', "No module named 'nowhere'"),
  ('return c.', 'invalid syntax'),
)
CASES = [
  *(Case(flag, train(flag), wanted) for flag, wanted in FLAGS),
  *(
    Case(line, train(recipe='{tmp}/mine.py'), wanted, recipe(line))
    for line, wanted in RECIPES
  ),
  # Not divisible: by the devices, by the micro-batches.
  Case(
    'a batch that micro-batches do not divide',
    train('config.batch_size=7', 'config.accumulation=2'),
    'accumulation=2',
  ),
  Case(
    'a batch that devices do not divide',
    train('config.batch_size=9'),
    'batch_size=9 is not divisible by 2 devices',
    devices=2,
  ),
  Case(
    'a mesh of more devices',
    train('config.parallel.strategy=mesh', 'config.parallel.fsdp=3'),
    'multiply',
  ),
  Case('an empty text', of_file, 'text is empty', text_file(b'')),
  Case('a text of spaces', of_file, 'has no text', text_file(b'\n \n\n')),
  Case(
    'a text of bytes',
    of_file,
    '/text.*UTF-8',
    text_file(b'good text\n\nbad \xff\xfe text\n'),
  ),
  Case(
    'a text in an archive',
    of_file,
    '/text is a ZIP archive: take the texts out of it',
    text_file(b'PK\x03\x04' + bytes(60)),
  ),
  Case(
    'half of a compressed text',
    of_file,
    r'/text is damaged \(gzip\)',
    text_file(gzip.compress(b'good text\n\n' * 99)[:-20]),
  ),
  Case(
    'the run of another model',
    again('config.model.hidden_size=64'),
    'config.model.hidden_size=32, not 64',
  ),
  Case(
    'the run of another seed', again('config.seed=1'), 'config.seed=0, not 1'
  ),
  Case(
    'the run of another batch',
    again('config.batch_size=16'),
    'use another --workdir',
  ),
  Case(
    'the run of another text',
    (
      *train(
        'config.tasks.causal.data.pattern={tmp}/text', 'config.num_steps=4'
      ),
    ),
    'was started with other ',
    other_text,
  ),
  Case('no recipe', train(recipe='{tmp}/no.py'), 'no such recipe'),
  Case(
    'no recipe, and a flag',
    train('config.seed=1', recipe='{tmp}/no.py'),
    'no such recipe',
  ),
  Case(
    'parameters of another model',
    train('config.init_from={run}', 'config.model.hidden_size=64'),
    'is of another model: .*(32.*64|64.*32)',
  ),
  Case('a folder of other files', train(), 'holds other files', thesis),
  Case(
    'a file, not a folder',
    (*train(), '--workdir={tmp}/text'),
    'is a file',
    text_file(b'years of work'),
  ),
  Case('no --config', ('train', '--workdir={tmp}/new'), '--config '),
  Case('no --workdir', train()[:2], '--workdir '),
]
