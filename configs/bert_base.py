"""BERT base, 110 million parameters, on Wikipedia: masked LM + next sentence.

Devlin et al. 2019, section 3.1 and appendix A.2: 256 rows of 512 tokens, a
million steps, Adam 1e-4, 10,000 steps of warm-up, linear decay, dropout 0.1.
Needs `wikipedia` prepared by TFDS and a GPU or TPU; not run by us on its full
data.

ctxlm train --config configs/bert_base.py --workdir runs/bert_base
"""

from ctxlm.configs import common


def get_config():
  """Returns the recipe."""
  c = common.base()
  c.num_steps = 1_000_000
  c.batch_size = 256
  c.max_length = 512
  c.tokenizer.kind = 'wordpiece'
  c.tokenizer.vocab_size = 30_522
  c.model = common.bert_shape(
    768,
    12,
    12,
    max_length=c.get_oneway_ref('max_length'),
    dropout=0.1,
    attention_dropout=0.1,
    scan_layers=True,
    dtype='bfloat16',
  )
  c.tasks.text = common.task(
    {'name': 'tfds', 'dataset': 'wikipedia/20230601.en'},
    {'name': 'mlm', 'pair': 'next_sentence'},
  )
  c.optimizer.learning_rate = 1e-4
  c.optimizer.schedule = 'linear'
  c.optimizer.warmup_steps = 10_000
  c.optimizer.eps = 1e-6
  c.checkpoint.every_steps = 5000
  return c
