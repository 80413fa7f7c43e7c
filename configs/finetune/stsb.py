r"""Similarity of two sentences, STS benchmark (Cer et al. 2017), as a score.

The argument is a folder of any kind with an encoder; behind a comma, the
folder of stsb-en-train.csv and stsb-en-dev.csv, `sentence,sentence,score` a
line, 0 to 5:

ctxlm train --config configs/finetune/stsb.py:all-MiniLM-L6-v2 \
  --workdir runs/stsb

With all-MiniLM-L6-v2, seed 1, 19 minutes on a busy core: Spearman 0.849 of dev
(95 % of resamples: 0.832 to 0.864), Pearson 0.849. Nothing else was tried.
"""

from ctxlm.configs import common


def get_config(folders='all-MiniLM-L6-v2'):
  """Returns the recipe."""
  # An epoch of 5,749 pairs.
  c, folder, every = common.finetune(
    folders, '../shared/data/stsb', 64, num_steps=180, learning_rate=1e-4
  )
  c.tasks.similarity = common.task(
    common.stsb_pairs(folder),
    {'name': 'classification', 'kind': 'score', 'range': (0, 5)},
  )
  c.evaluators.dev = {'name': 'classification', 'every_steps': every}
  return c
