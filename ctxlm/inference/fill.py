"""The best tokens for each mask of a text."""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.models import heads
from ctxlm.objectives import mlm


def fill(loaded, text, top=5):
  """Returns, for each mask, its `top` (token, probability).

  Args:
    loaded: ctxlm.inference.loading.Loaded of a masked language model.
    text: with the tokenizer's mask token, e.g. [MASK].
    top: how many.

  Raises:
    UserError: there is no mask, the text is too long, or the run has no MLM
      head.
  """
  t = loaded.tokenizer
  if not heads.has(loaded.params, 'mlm'):
    raise UserError('fill needs a run trained with the objective mlm')
  row = np.array(framing.text(t)(t.encode(text)), np.int32)
  places = np.flatnonzero(row == t.mask_id)
  if not len(places):
    raise UserError(
      f'--text has no {t.tokens([t.mask_id])[0]}: put one where to fill'
    )
  if len(row) > loaded.max_length:
    raise UserError(
      f'--text has {len(row)} tokens; the model takes {loaded.max_length}'
    )

  def forward(model):
    hidden = model(jnp.asarray(row[None]))[0, places]
    return jax.nn.softmax(mlm.mlm_logits(model, hidden))

  probabilities = np.asarray(loaded.call(forward))
  fillings = []
  for p in probabilities:
    best = np.argsort(-p, kind='stable')[:top]
    fillings.append(list(zip(t.tokens(best.tolist()), p[best].tolist())))
  return fillings
