r"""Inference, SNLI (Bowman et al. 2015), a small part of it.

The argument is a folder of any kind with an encoder; behind a comma, the
folder of snli.txt.gz, `premise<TAB>hypothesis<TAB>0, 1 or 2` a line. It has no
splits, so its premises are put into some by their hash, each with all of its
hypotheses: 8,881 pairs to train on, 473 of validation, 470 of test:

ctxlm train --config configs/finetune/snli.py:all-MiniLM-L6-v2 \
  --workdir runs/snli

With all-MiniLM-L6-v2, seed 1, 14 minutes on a busy core: accuracy 0.763 of
validation (95 % of resamples: 0.725 to 0.799). Nothing else was tried.
"""

from ctxlm.configs import common


def get_config(folders='all-MiniLM-L6-v2'):
  """Returns the recipe."""
  # An epoch of 8,881 pairs.
  c, folder, every = common.finetune(
    folders, '../shared/data/snli', 40, num_steps=280, learning_rate=1e-4
  )
  names = ('entailment', 'neutral', 'contradiction')
  c.tasks.inference = common.task(
    common.snli_pairs(folder), {'name': 'classification', 'labels': names}
  )
  c.evaluators.dev = {'name': 'classification', 'every_steps': every}
  return c
