"""Supervised SimCSE from local files: premise, entailment, contradiction.

Gao et al. 2021, section 4: triples of NLI, temperature 0.05, judged by STS
benchmark's Spearman correlation. The argument is the folder of two files,
nli.csv (columns sent0, sent1, hard_neg; the nli_for_simcse.csv of Hugging
Face's princeton-nlp/datasets-for-simcse) and stsb.csv (columns sentence1,
sentence2, score); behind a comma, the folder of a checkpoint whose model,
tokenizer and parameters to start from, in place of a small model afresh:

ctxlm train --config configs/simcse.py:data/simcse,bert-base-uncased \
  --workdir runs/simcse
"""

from ctxlm.configs import common


def get_config(folders='data/simcse'):
  """Returns the recipe."""
  folder, _, checkpoint = folders.partition(',')
  c = common.base()
  c.num_steps = 500
  c.batch_size = 64
  c.max_length = 32
  vectors = {'pooling': 'cls'}
  if checkpoint:
    vectors = common.vectors(checkpoint, 'cls')
    opened = common.start_from(c, checkpoint)
    c.max_length = min(c.max_length, opened.block['max_length'])
    c.optimizer.learning_rate = 5e-5  # of the paper, appendix A
  else:
    c.optimizer.learning_rate = 5e-4
    c.tokenizer.kind = 'wordpiece'
    c.tokenizer.vocab_size = 4096
    c.model = common.bert_shape(
      192, 3, 6, max_length=96, dropout=0.1, attention_dropout=0.1
    )
  c.tasks.pairs = common.task(
    {
      'name': 'files',
      'pattern': f'{folder}/nli.csv',
      'fields': {'text_a': 'sent0', 'text_b': 'sent1', 'negative': 'hard_neg'},
    },
    {'name': 'contrastive', 'fields': 3, **vectors},
  )
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = 50
  c.evaluators.sts = {
    'name': 'sts',
    'data': {
      'name': 'files',
      'split_patterns': {'validation': f'{folder}/stsb.csv'},
      'fields': {
        'text_a': 'sentence1',
        'text_b': 'sentence2',
        'score': 'score',
      },
    },
    'every_steps': 100,
  }
  return c
