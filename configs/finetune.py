r"""Trains on from a checkpoint, of any family, on your own text.

The argument is a folder of Hugging Face or sentence-transformers, a model
folder that `ctxlm convert` wrote, or a run folder; its model, tokenizer and
kind of task are taken over. Behind a comma stands another objective, such as a
head: classification, tagging, span or multiple_choice. What fields each reads
is in configs/README.md:

ctxlm train --config configs/finetune.py:bert-base-uncased \
  --workdir runs/mine --config.tasks.text.data.pattern='text/*.txt' \
  --config.max_length=128
ctxlm train --config configs/finetune.py:bert-base-uncased,classification \
  --workdir runs/mood --data reviews.csv:text=review,label=mood
"""

from ctxlm.configs import common

# Evaluators of objectives; the others have one of their own name.
JUDGES = {'causal': 'perplexity', 'mlm': 'losses', 'seq2seq': 'losses'}
JUDGES['contrastive'] = 'alignment'


def get_config(argument='bert-base-uncased'):
  """Returns the recipe."""
  folder, _, name = str(argument).partition(',')
  c = common.base()
  opened = common.start_from(c, folder)
  objective, evaluator = kind(opened, folder)
  if name and name != objective['name']:
    objective, evaluator = {'name': name}, JUDGES.get(name, name)
  data = {'name': 'files', 'pattern': 'data/*'}
  if objective['name'] == 'contrastive':
    data['unit'] = 'sentence'
  c.tasks.text = common.task(data, objective)
  c.num_steps = 1000
  c.max_length = min(opened.block['max_length'], 512)
  c.optimizer.learning_rate = 5e-5
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = 100
  c.checkpoint.every_steps = 200
  c.evaluators[evaluator] = {'name': evaluator, 'every_steps': 200}
  return c


def kind(opened, folder):
  """Returns (objective, evaluator) that suit what a folder holds."""
  heads = opened.shapes.get('heads', {})
  if opened.block['name'] == 'encoder_decoder':
    return {'name': 'seq2seq'}, 'losses'
  if opened.block.get('causal', True):
    return {'name': 'causal'}, 'perplexity'
  if 'mlm' in heads and not opened.sentence:
    pair = 'next_sentence' if 'next_sentence' in heads else ''
    return {'name': 'mlm', 'pair': pair}, 'losses'
  return {'name': 'contrastive', **common.vectors(folder)}, 'alignment'
