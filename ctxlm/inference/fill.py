"""The best tokens for each mask of a text."""

import jax
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import passes
from ctxlm.models import heads
from ctxlm.objectives import mlm


def fill(loaded, text, top=5, needed=True):
  """Returns, for each mask, its `top` (token, probability).

  Args:
    loaded: ctxlm.inference.loading.Loaded of a masked language model.
    text: with the tokenizer's mask token, e.g. [MASK].
    top: how many.
    needed: whether a text without a mask is a mistake.

  Raises:
    UserError: there is no mask, the text is too long, or the run has no MLM
      head.
  """
  t = loaded.tokenizer
  if not heads.has(loaded.params, 'mlm'):
    raise UserError(f'{loaded.folder} has no MLM head, which fill needs')
  row = framing.reading(t, loaded.model)(t.encode(text))
  places = [i for i, token in enumerate(row) if token == t.mask_id]
  if not places:
    if not needed:
      return []
    raise UserError(
      f'the text has no {t.tokens([t.mask_id])[0]}: put one where to fill'
    )
  if len(row) > loaded.max_length:
    raise UserError(
      f'the text has {len(row)} tokens; the model takes {loaded.max_length}'
    )
  (probabilities,) = loaded.passes(
    _of_masks, [{'tokens': row, 'places': places}]
  )
  fillings = []
  for p in probabilities[: len(places)]:
    best = np.argsort(-p, kind='stable')[:top]
    fillings.append(list(zip(t.pieces(best), p[best].tolist())))
  return fillings


def _of_masks(apply, batch):
  def forward(model):
    hidden = mlm.at_positions(passes.read(model, batch), batch['places'])
    return jax.nn.softmax(mlm.mlm_logits(model, hidden))

  return apply(forward)
