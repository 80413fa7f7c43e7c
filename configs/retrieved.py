"""A small GPT on Python's own documentation, beside passages found by BM25.

The argument says how it reads them: prepended, cross_attention, gate or output.
It needs bm25s, `pip install 'ctxlm[retrieval]'`:

ctxlm train --config configs/retrieved.py:gate --workdir runs/retrieved
"""

from ctxlm.configs import quickstart_causal
from ctxlm.errors import UserError

READINGS = ('prepended', 'cross_attention', 'gate', 'output')


def get_config(reading='cross_attention'):
  """Returns the recipe: quickstart_causal's, with passages of training text."""
  if reading not in READINGS:
    raise UserError(f'{reading!r} is none of {", ".join(READINGS)}')
  c = quickstart_causal.get_config()
  # Behind the text that is put in front of it, a row is twice as long.
  c.model.max_length = 256
  if reading != 'prepended':
    c.model.update(name='reader', reading=reading)
  c.tasks.text.objective = {
    'name': 'retrieved',
    'passages': 2,
    'passage_length': 64,
    'corpus': {'name': 'corpus'},
    'retriever': {'name': 'bm25'},
  }
  return c
