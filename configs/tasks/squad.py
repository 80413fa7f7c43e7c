r"""Answers in Wikipedia's articles, SQuAD 1.1, written after two examples.

The argument is the folder of train_quarter.json.gz, see
configs/finetune/squad.py:

ctxlm evaluate --model gpt2 --few_shot configs/tasks/squad.py

Format: lm-evaluation-harness's of SQuAD 2 (without the hint that there may be
no answer); the first line that is written is the answer. We know of no figure
of GPT-2 124M.
"""


def get_task(folder='../shared/data/squad'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': {
      'name': 'files',
      'pattern': f'{folder}/train_quarter.json.gz',
      'format': 'squad',
      'split_by': 'title',
      'fields': {
        'title': 'title',
        'context': 'context',
        'question': 'question',
        'answers': 'answers.text',
      },
    },
    'template': 'Title: {title}\n\nBackground: {context}\n\n'
    'Question: {question}\n\nAnswer: {answer}',
    'target': 'answers',
    'shots': 2,
    'score': 'generate',
    'metrics': ('squad',),
  }
