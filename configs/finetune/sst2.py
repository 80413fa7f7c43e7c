r"""Sentiment of sentences, SST-2 (Socher et al. 2013), from a checkpoint.

The argument is a folder of any kind with an encoder; behind a comma, the
folder of train.tsv and dev.tsv, `sentence<TAB>0 or 1` a line:

ctxlm train --config configs/finetune/sst2.py:all-MiniLM-L6-v2 \
  --workdir runs/sst2

With all-MiniLM-L6-v2 it takes 8 minutes on two cores. Accuracy on the dev
split, mean of 3 seeds (range): 0.881 (0.873 to 0.890); with the mean of the
vectors, config.tasks.sentiment.objective.pooling='mean', 0.876 (1 seed); with
batches of 16, a rate of 5e-5 and rows of 40 tokens, 0.883 (1 seed).
"""

from ctxlm.configs import common


def get_config(folders='all-MiniLM-L6-v2'):
  """Returns the recipe."""
  # 3 epochs of 6,920 sentences.
  c, folder, every = common.finetune(
    folders, '../shared/data/sst2', 48, num_steps=650, learning_rate=1e-4
  )
  c.tasks.sentiment = common.task(
    common.sst2_texts(folder),
    {'name': 'classification', 'labels': ('negative', 'positive')},
  )
  c.evaluators.dev = {'name': 'classification', 'every_steps': every}
  return c
