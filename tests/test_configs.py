"""Every recipe builds, and takes a step in a shrunk form."""

import gzip
import json
import pathlib
import re

import jax
import numpy as np
import pytest

from ctxlm import config, plugins, recipes
from ctxlm.evaluators import generation
from ctxlm.parallel import pmap
from ctxlm.training import loop as train
from ctxlm.training import program as program_lib
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
NAMES = sorted(
  name
  for name, path in recipes.ours().items()
  if path.is_relative_to(recipes.HOME / 'configs')
)
QUICK = ('finetune', 'ngram', 'quickstart_causal', 'quickstart_mlm')
# What makes a recipe large. Its shape - norms, positions, gates, scan, mesh,
# precision, objectives, optimizer - stays. Layers that are scanned, or have
# dropout between them, are two.
SIZES = {
  'hidden_size': 32,
  'num_layers': 1,
  'num_heads': 4,
  'mlp_dim': 48,
  'max_length': 32,
}


@pytest.fixture
def nli(tmp_path):
  """The folder of files that configs/simcse.py reads."""
  rows = [f'a cat {i},the cat {i},no dog {i}' for i in range(40)]
  (tmp_path / 'nli.csv').write_text('\n'.join(['sent0,sent1,hard_neg', *rows]))
  rows = [f'a cat {i},the cat {9 - i},{i % 5}' for i in range(9)]
  (tmp_path / 'stsb.csv').write_text(
    '\n'.join(['sentence1,sentence2,score', *rows])
  )
  return tmp_path


@pytest.fixture
def sst2(tmp_path):
  """The folder of files that configs/finetune/sst2.py reads."""
  rows = [f'the cat sees {i}\t{i % 2}' for i in range(20)]
  for name in ('train', 'dev'):
    (tmp_path / f'{name}.tsv').write_text('\n'.join(rows))
  return tmp_path


@pytest.fixture
def encoders(tmp_path):
  """The folders of files that recipes for encoders read, by recipe."""
  rows = {
    'trec/train.txt': 'HUM:ind Who sees {i} ?\nNUM:date When \xe9 {i} ?\n',
    'stsb/stsb-en-train.csv': 'a cat {i},the cat {i},{j}\n',
    'snli/snli.txt.gz': ''.join(
      f'a cat {{i}}\t{other}\t{label}\n'
      for label, other in enumerate(('the cat', 'a big cat', 'no cat'))
    ),
    'conll2000/train.txt.gz': 'cats NNS B-NP\nsee VB B-VP\n{i} CD O\n\n',
  }
  for name, row in rows.items():
    path = tmp_path / name
    path.parent.mkdir()
    text = ''.join(row.format(i=i, j=i % 6) for i in range(40))
    content = text.encode('latin-1')
    if name.endswith('.gz'):
      content = gzip.compress(content)
    for split in ('train', 'dev', 'test'):
      other = path.with_name(path.name.replace('train', split))
      other.write_bytes(content)
  return tmp_path


@pytest.fixture
def squad(tmp_path):
  """The folder of the file that configs/finetune/squad.py reads."""
  answers = [{'text': 'cat', 'answer_start': 4}]
  data = [
    {
      'title': f'T{t}',
      'paragraphs': [
        {
          'context': 'the cat sees the dog',
          'qas': [{'id': f'{t}', 'question': 'who?', 'answers': answers}],
        }
      ],
    }
    for t in range(60)
  ]
  text = json.dumps({'data': data}).encode()
  (tmp_path / 'train_quarter.json.gz').write_bytes(gzip.compress(text))
  return tmp_path


@pytest.fixture
def multi30k(tmp_path):
  """The folder of files that configs/finetune/multi30k.py reads."""
  for name in ('train', 'val'):
    for language, word in (('en', 'the cat'), ('de', 'die Katze')):
      text = '\n'.join(f'{word} {i}' for i in range(20))
      with gzip.open(tmp_path / f'{name}.{language}.gz', 'wt') as f:
        f.write(text)
  return tmp_path


@pytest.fixture
def scitldr(tmp_path):
  """The folder of files that configs/finetune/scitldr.py reads."""
  rows = [{'source': ['a cat', f'b {i}'], 'target': ['cat']} for i in range(9)]
  for name in ('train', 'dev'):
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  return tmp_path


@pytest.fixture
def dailydialog(tmp_path):
  """The file that configs/finetune/dailydialog.py reads."""
  lines = [f'the cat {i} ? __eou__ no __eou__ ah ! __eou__' for i in range(90)]
  path = tmp_path / 'dialogues.txt'
  path.write_text('\n'.join(lines))
  return path


@pytest.fixture
def checkpoint_of_text(runs):
  """A run folder of a decoder."""
  return runs['causal'].workdir


@pytest.fixture
def scratch():
  """No folder to start from."""
  return ''


@pytest.fixture
def checkpoint(runs):
  """A run folder to start from."""
  return runs['mlm'].workdir


# How an example of a task reads, with the first answer that is right.
TASKS = {
  'sst2': 'Review: the cat sees 0\nSentiment: Negative',
  'trec': 'Question: Who sees 0 ?\nAnswer Type: Person',
  'snli': 'a cat 0\nQuestion: the cat True, False, or Neither?\nAnswer: True',
  'squad': 'Title: T0\n\nBackground: the cat sees the dog\n\nQuestion: who?'
  '\n\nAnswer: cat',
  'scitldr': 'a cat b 0\n\nTL;DR: cat',
  'multi30k': 'the cat 0 = die Katze 0',
  'lambada': 'the big cat',
  # As lm-evaluation-harness's process_docs makes it; and as it stands.
  'hellaswag': 'Play: A cat sits. It runs fast.',
  'hellaswag,completion': 'A cat [header] sits. it runs [substeps] fast.',
}


@pytest.fixture
def passages(tmp_path):
  """The files that lambada and hellaswag read, {name: path}."""
  scene = {'activity_label': 'Play', 'ctx_a': 'A cat [step] sits.'}
  scene |= {'ctx_b': 'it', 'ctx': 'A cat [header] sits. it', 'label': 2}
  scene['endings'] = ['x', 'y', ' runs [substeps] fast.', 'z']
  found = {'lambada': {'text': 'the big cat'}, 'hellaswag': scene}
  for name, record in found.items():
    path = tmp_path / f'{name}.jsonl'
    path.write_text((json.dumps(record) + '\n') * 3)
    found[name] = path
  return found


def test_every_task_has_a_text():
  names = {name.removeprefix('tasks/') for name in recipes.ours(recipes.TASK)}
  assert names == {name.partition(',')[0] for name in TASKS}


def made_up(pairs):
  """Returns what continuations may be said to be."""
  return [(np.full(len(ids), -1.0), np.ones(len(ids))) for _, ids in pairs]


@pytest.mark.parametrize('name', TASKS)
def test_task_asks_as_it_says(request, runs, monkeypatch, name):
  file, comma, protocol = name.partition(',')
  if file in ('trec', 'snli'):
    folder = request.getfixturevalue('encoders') / file
  elif file in ('lambada', 'hellaswag'):
    folder = request.getfixturevalue('passages')[file]
  else:
    folder = request.getfixturevalue(file)
  _, block = recipes.load_task(f'{file}:{folder}{comma}{protocol}')
  block |= {'limit': 2, 'shots': min(block.get('shots', 0), 1)}
  evaluator = plugins.build('evaluators', block)
  example, *more = evaluator._examples(evaluator.data, 'validation')
  # Which number comes first is by a hash.
  said = re.sub('[0-9]+', '0', example.filled(example.answer))
  assert said == TASKS[name]
  # What a model would say is made up; demonstrations have no room.
  bench = runs['causal'].program.bench
  bench.params = runs['causal'].params
  monkeypatch.setattr(bench, 'continuations', lambda _: made_up)
  text = bench.tokenizer.encode('a cat')
  monkeypatch.setattr(generation, 'write', lambda _, x, __: [text] * len(x))
  figures = evaluator.run(bench)
  assert figures['examples'] == 1 + len(more)
  assert {k for k in figures if k.endswith('_low')}


def shrink(c, text):
  counted = c.model.name == 'ngram'
  c.num_steps, c.batch_size, c.max_length = int(not counted), 8, 24
  # Programs of equal numbers are compiled once.
  c.optimizer.warmup_steps, c.optimizer.learning_rate = 1, 1e-3
  if not c.init_from:
    c.tokenizer.vocab_size = 264  # as many as any text gives
    c.model.update({k: v for k, v in SIZES.items() if k in c.model})
    if c.model.get('scan_layers') or c.model.name == 'lstm':
      c.model.num_layers = 2
    if c.model.get('num_kv_heads'):
      c.model.num_kv_heads = 2
  for task in c.tasks.values():
    if 'target_length' in task.objective:
      task.objective.target_length = c.max_length
    # Data that isn't at hand is text that is.
    own = task.data.get('pattern') == 'data/*'
    if task.data.name in ('tfds', 'corpus') or own:
      unit = task.data.get('unit', 'document')
      task.data = {'name': 'files', 'pattern': str(text), 'unit': unit}
    if 'corpus' in task.objective:
      task.objective.corpus = task.data
      task.objective.passage_length = 4
  return c


def place(c):
  """Two devices are as good as eight where parameters are replicated."""
  return pmap.Pmap(jax.devices()[:2]) if c.parallel.strategy == 'pmap' else None


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES
  ],
)
def test_recipe_takes_a_step(text, request, tmp_path, name):
  module = recipes.open_module(recipes.find(name))
  needs = {
    'simcse': ('nli',),
    'finetune': ('checkpoint',),
    'finetune/sst2': ('checkpoint', 'sst2'),
    'finetune/nli': ('checkpoint', 'encoders'),
    'finetune/multi30k': ('scratch', 'multi30k'),
    'finetune/scitldr': ('scratch', 'scitldr'),
    'finetune/dailydialog': ('checkpoint_of_text', 'dailydialog'),
    'finetune/squad': ('checkpoint', 'squad'),
  }
  for own in ('conll2000', 'snli', 'stsb', 'trec'):
    needs[f'finetune/{own}'] = 'checkpoint', 'encoders'
  found = [str(request.getfixturevalue(n)) for n in needs.get(name, ())]
  if 'encoders' in needs.get(name, ()) and name != 'finetune/nli':
    found[-1] += name.removeprefix('finetune')
  folders = [','.join(found)] if found else []
  c = module.get_config(*folders)
  config.check(c)
  assert f'--config configs/{name}.py' in module.__doc__
  results = train.train(shrink(c, text), tmp_path / 'run', place(c))
  (row, *_) = tiny.metrics(tmp_path / 'run')
  if c.num_steps:
    assert 0 < row['train/loss'] < 40 and row['train/grad_norm'] > 0
  evaluated = {k.split('/')[1] for k in results}
  assert evaluated == set(c.evaluators)


@pytest.mark.parametrize('reading', ['prepended', 'gate', 'output'])
def test_retrieved_has_a_step_of_each_reading(text, loaded, reading):
  from ctxlm.configs import retrieved

  c = shrink(retrieved.get_config(reading), text)
  config.check(c)
  tokenizer = loaded['causal'].tokenizer
  step = program_lib.build(c, place(c), tokenizer).lower()
  assert ('gate' in str(step.out_info)) == (reading != 'prepended')


@pytest.mark.parametrize(
  'name, judge',
  [('tagging', 'tagging'), ('causal', 'perplexity'), ('mlm', 'losses')],
)
def test_finetune_by_another_objective(checkpoint, name, judge):
  from ctxlm.configs import finetune

  c = finetune.get_config(f'{checkpoint},{name}')
  config.check(c)
  assert c.tasks.text.objective.name == name
  assert c.init_from == str(checkpoint)
  assert [e.name for e in c.evaluators.values()] == [judge]


def test_simcse_starts_from_a_checkpoint(nli, checkpoint):
  from ctxlm.configs import simcse

  c = simcse.get_config(f'{nli},{checkpoint}')
  config.check(c)
  assert c.init_from == str(checkpoint)
  assert c.model.hidden_size == 32 and c.max_length == 24  # of tests/tiny.py
  assert c.tokenizer.path == str(checkpoint / 'tokenizer')
  assert c.tasks.pairs.data.pattern == f'{nli}/nli.csv'
