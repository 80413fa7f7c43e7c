r"""What is asked for, TREC's six kinds of questions, by a few examples.

The argument is the folder of train.txt and test.txt, `COARSE:fine question` a
line, Latin-1 (Li & Roth 2002):

ctxlm evaluate --model gpt2 --few_shot configs/tasks/trec.py

Format: Zhao et al. 2021 (arXiv:2102.09690), whose protocol calibrates,
--config.evaluators.trec.calibrated=true. We know of no figure of GPT-2 124M.
"""

from ctxlm.configs import common


def get_task(folder='../shared/data/trec'):
  """Returns the evaluator's block."""
  return {
    'name': 'few_shot',
    'data': common.trec_questions(folder),
    'instruction': 'Classify the questions based on whether their answer type '
    'is a Number, Location, Person, Description, Entity, or Abbreviation.\n\n',
    'template': 'Question: {text}\nAnswer Type: {answer}',
    'verbalisers': {
      'ABBR': 'Abbreviation',
      'DESC': 'Description',
      'ENTY': 'Entity',
      'HUM': 'Person',
      'LOC': 'Location',
      'NUM': 'Number',
    },
    'shots': 8,
  }
