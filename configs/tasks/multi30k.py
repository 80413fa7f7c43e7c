r"""English to German, Multi30k (Elliott et al. 2016), after five examples.

The argument is the folder of train.en.gz, train.de.gz, val.en.gz and val.de.gz:

ctxlm evaluate --model gpt2 --few_shot configs/tasks/multi30k.py

Format: Radford et al. 2019 (section 3.7), `english sentence = german sentence`,
of which the likeliest line is the translation; they have 5 BLEU of the largest
model from English to French. We know of no figure of GPT-2 124M.
"""

from ctxlm.configs import common


def get_task(folder='../shared/data/multi30k'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': common.multi30k_pairs(folder),
    'template': '{text_a} = {answer}',
    'target': 'text_b',
    'separator': '\n',
    'shots': 5,
    'score': 'generate',
    'decoding': {'max_new_tokens': 40},
    'metrics': ('bleu', 'chrf'),
  }
