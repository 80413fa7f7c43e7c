r"""Sentiment of sentences, SST-2 (Socher et al. 2013), by a few examples.

The argument is the folder of train.tsv and dev.tsv, `sentence<TAB>0 or 1` a
line:

ctxlm evaluate --model gpt2 --few_shot configs/tasks/sst2.py

Format: Zhao et al. 2021 (arXiv:2102.09690), whose protocol calibrates,
--config.evaluators.sst2.calibrated=true. We know of no figure of GPT-2 124M.
"""

from ctxlm.configs import common


def get_task(folder='../shared/data/sst2'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': common.sst2_texts(folder),
    'template': 'Review: {text}\nSentiment: {answer}',
    'verbalisers': {'0': 'Negative', '1': 'Positive'},
    'shots': 8,
  }
