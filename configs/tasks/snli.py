r"""Inference, SNLI (Bowman et al. 2015), by a few examples.

The argument is the folder of snli.txt.gz, see configs/finetune/snli.py:

ctxlm evaluate --model gpt2 --few_shot configs/tasks/snli.py

Format: that of ANLI in Brown et al. 2020 (arXiv:2005.14165, appendix G). We
know of no figure of GPT-2 124M.
"""

from ctxlm.configs import common


def get_task(folder='../shared/data/snli'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': common.snli_pairs(folder),
    'template': '{text_a}\nQuestion: {text_b} True, False, or Neither?\n'
    'Answer: {answer}',
    'verbalisers': {'0': 'True', '1': 'Neither', '2': 'False'},
    'shots': 8,
  }
