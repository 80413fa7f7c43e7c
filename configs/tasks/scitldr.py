r"""Abstracts to one line, SciTLDR (Cachola et al. 2020), after one example.

The argument is the folder of train.jsonl and dev.jsonl, see
configs/finetune/scitldr.py:

ctxlm evaluate --model gpt2 --few_shot configs/tasks/scitldr.py

Format: the hint TL;DR: of Radford et al. 2019 (section 3.6), who draw three
sentences and show no example; here the first line is taken, the likeliest
words. We know of no figure of GPT-2 124M.
"""


def get_task(folder='../shared/data/scitldr'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': {
      'name': 'files',
      'split_patterns': {
        'train': f'{folder}/train.jsonl',
        'validation': f'{folder}/dev.jsonl',
      },
      'fields': {'text': 'source.+', 'summaries': 'target'},
    },
    'template': '{text}\n\nTL;DR: {answer}',
    'target': 'summaries',
    'shots': 1,
    'score': 'generate',
    'decoding': {'max_new_tokens': 60},
    'metrics': ('rouge',),
  }
