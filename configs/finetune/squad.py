r"""Answers in Wikipedia's articles, SQuAD 1.1 (Rajpurkar et al. 2016).

The argument is a folder of any kind with an encoder; behind a comma, the
folder of train_quarter.json.gz, a quarter of SQuAD's own format, whose articles
are put into splits whole:

ctxlm train --config configs/finetune/squad.py:all-MiniLM-L6-v2 \
  --workdir runs/squad

With all-MiniLM-L6-v2 it takes 11 minutes on two busy cores. F1 on the 1,521
questions of 7 articles that were held out, with its interval over questions:
25.0 (23.1 to 27.0) of seed 0, exact match 16.1 (14.2 to 17.9);
of seed 100 on 200 of them 40.6 (35.2 to 46.9).
No other rate was tried, and seeds differ, as 200 steps are but a beginning:
1,600 windows of 26,999, and the loss still falls. An epoch,
--config.num_steps=3375, was not run. One answer in nine is in its context
several times: the first is learned.
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
