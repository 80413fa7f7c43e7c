"""Disks that are full at each moment of a verb: one line, and later it works.

A limit of the size of files stands for the disk: the system refuses to write
more, as it does there.
"""

import json

from ctxlm.training import run_folder
from tests.mistakes import Case, train
from tests.mistakes.outputs import ATTEND, EMBED

GENERATE = ('generate', '--model={run}', '--input={tmp}/in.jsonl')
GENERATE += ('--output={tmp}/out.jsonl', '--max_new_tokens=8')
SWEEP = 'sweep', 'tests/toy.py', '--workdir={tmp}/new', '--scale=smoke'
SWEEP += ('--seeds=1',)
FULL = 'File too large; make room, and run the same command again$'


LEAST = 280  # the line itself is in a file


def prompts(tmp, _):
  """Makes {tmp}/in.jsonl."""
  rows = [{'prompt': 'the cat'}] * 12
  (tmp / 'in.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))


def swept(tmp, _):
  """Makes {tmp}/new, a sweep's folder that nothing was trained in."""
  (tmp / 'new').mkdir()
  points = {
    f'learning_rate={rate},seed=0': {
      'overrides': {'optimizer.learning_rate': rate, 'seed': 0},
      'num_steps': 6,
      'recipe': '0',
    }
    for rate in (0.1, 0.3)
  }
  plan = {'experiment': 'tests/toy.py', 'scale': 'smoke', 'settings': {}}
  text = json.dumps(plan | {'points': points, 'commits': ['0']})
  (tmp / 'new' / 'sweep.json').write_text(text)


def two_runs(tmp, _):
  """Makes {tmp}/a and {tmp}/b, with metrics."""
  for name in 'ab':
    (tmp / name).mkdir()
    tasks = {'text': {'objective': {'name': 'causal'}}}
    about = json.dumps({'layout': run_folder.LAYOUT, 'tasks': tasks})
    (tmp / name / 'config.json').write_text(about)
    rows = ({'step': n, 'train/loss': 1 / n} for n in (1, 2, 3))
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (tmp / name / 'metrics.jsonl').write_text(text)


def case(name, argv, room, where, make=None):
  """Returns the Case of files of `room` bytes; `where` ends what is named."""
  wanted = f'{where}: {FULL}'
  return Case(name, argv, wanted, make, writes=True, room=room)


CASES = [
  case('train: a checkpoint', train(), 60_000, 'new/checkpoints'),
  case('sweep: the points', SWEEP, LEAST, 'new/sweep.json'),
  case(
    'report: a plot',
    ('report', 'tests/toy.py', '--workdir={tmp}/new'),
    1000,
    'new/loss.png',
    swept,
  ),
  case(
    'report --compare: a plot',
    ('report', '--compare', '{tmp}/a', '{tmp}/b', '--out={tmp}/c'),
    1000,
    'c/train-loss.png',
    two_runs,
  ),
  case('generate: a text', GENERATE, 600, 'out.jsonl', prompts),
  case('embed: the vectors', (*EMBED, '--output={tmp}/a.npy'), 999, 'a.npy'),
  *(
    case(
      f'convert {flag}: weights',
      ('convert', '--from={run}', f'{flag}={{tmp}}/model'),
      50_000,
      'model/model.safetensors',
    )
    for flag in ('--to', '--to-hf')
  ),
  case('attend: a picture', (*ATTEND, '--out={tmp}/a.png'), 1000, 'a.png'),
]
