"""A small GPT on Python's own documentation, beside passages found by BM25.

The argument says how it reads them: prepended, cross_attention, gate or output.
It needs bm25s, `pip install 'ctxlm[retrieval]'`:

ctxlm train --config configs/retrieved.py:gate --workdir runs/retrieved
"""

from ctxlm.configs import common
from ctxlm.errors import UserError

READINGS = ('prepended', 'cross_attention', 'gate', 'output')


def get_config(reading='cross_attention'):
  """Returns the recipe: quickstart_causal's, with passages of training text."""
  if reading not in READINGS:
    raise UserError(f'{reading!r} is none of {", ".join(READINGS)}')
  c = common.base()
  c.num_steps = 250
  c.batch_size = 16
  c.max_length = 128
  c.tokenizer.vocab_size = 4096
  # Behind the text that is put in front of it, a row is twice as long.
  c.model = common.gpt2_shape(192, 4, 6, max_length=256)
  if reading != 'prepended':
    c.model.update(name='reader', reading=reading)
  objective = {
    'name': 'retrieved',
    'passages': 2,
    'passage_length': 64,
    'corpus': {'name': 'corpus'},
    'retriever': {'name': 'bm25'},
  }
  c.tasks.text = common.task({'name': 'corpus'}, objective)
  c.optimizer.learning_rate = 3e-3
  c.optimizer.warmup_steps = 40
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.1
  c.evaluators.perplexity = {'name': 'perplexity', 'every_steps': 125}
  return c
