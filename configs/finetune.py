r"""Trains on from a checkpoint, of any family, on your own text.

The argument is a folder of Hugging Face or sentence-transformers, a model
folder that `ctxlm convert` wrote, or a run folder; its model, tokenizer and
kind of task are taken over. Files of pairs, which seq2seq needs, have the
fields text_a and text_b:

ctxlm train --config configs/finetune.py:bert-base-uncased \
  --workdir runs/mine --config.tasks.text.data.pattern='text/*.txt' \
  --config.max_length=128
"""

from ctxlm.configs import common


def get_config(folder='bert-base-uncased'):
  """Returns the recipe."""
  c = common.base()
  opened = common.start_from(c, folder)
  objective, evaluator = kind(opened, folder)
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
