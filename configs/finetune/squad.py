r"""Answers in Wikipedia's articles, SQuAD 1.1 (Rajpurkar et al. 2016).

The argument is a folder of any kind with an encoder; behind a comma, the
folder of train_quarter.json.gz, SQuAD's own format:

ctxlm train --config configs/finetune/squad.py:all-MiniLM-L6-v2 \
  --workdir runs/squad
"""

from ctxlm.configs import common


def get_config(folders='all-MiniLM-L6-v2'):
  """Returns the recipe."""
  checkpoint, _, folder = folders.partition(',')
  folder = folder or '../shared/data/squad'
  c = common.base()
  opened = common.start_from(c, checkpoint)
  c.num_steps = 200
  c.batch_size = 8
  c.max_length = min(opened.block['max_length'], 192)
  c.tasks.answers = common.task(
    {
      'name': 'files',
      'pattern': f'{folder}/train_quarter.json.gz',
      'format': 'squad',
      'split_by': 'title',  # all questions of an article are in one split
    },
    {'name': 'span'},
  )
  c.optimizer.learning_rate = 3e-4
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = 20
  c.checkpoint.every_steps = 100
  c.evaluators.dev = {'name': 'span'}
  return c
