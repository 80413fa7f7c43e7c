r"""Sentence vectors by SNLI's triples, judged by STS benchmark's pairs.

Supervised SimCSE (Gao et al. 2021, section 4): what follows from a premise is
near it, what contradicts it is far. The argument is a folder of any kind with
an encoder; behind a comma, the folder that holds those of snli.py and stsb.py:

ctxlm train --config configs/finetune/nli.py:all-MiniLM-L6-v2 \
  --workdir runs/nli
"""

from ctxlm.configs import common


def get_config(folders='all-MiniLM-L6-v2'):
  """Returns the recipe."""
  # An epoch of 2,648 triples.
  c, folder, every = common.finetune(
    folders, '../shared/data', 32, num_steps=84, learning_rate=5e-5
  )
  c.tasks.pairs = common.task(
    {
      'name': 'triples',
      'data': common.snli_pairs(f'{folder}/snli'),
      'entailment': '0',
      'contradiction': '2',
    },
    {
      'name': 'contrastive',
      'fields': 3,
      'project': False,
      **common.vectors(folders.partition(',')[0]),
    },
  )
  c.evaluators.dev = {
    'name': 'sts',
    'data': common.stsb_pairs(f'{folder}/stsb'),
    'every_steps': every,
  }
  return c
