"""`ctxlm fill --text "... [MASK] ..."`: the best tokens for each mask."""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from ctxlm import cli
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.models import heads
from ctxlm.objectives import mlm
from ctxlm.parallel import processes


def fill(run, text, top=5):
  """Returns, for each mask, its `top` (token, probability).

  Args:
    run: ctxlm.inference.loading.Loaded, or a Run, of a masked language model.
    text: with the tokenizer's mask token, e.g. [MASK].
    top: how many.

  Raises:
    UserError: there is no mask, the text is too long, or the run has no MLM
      head.
  """
  t = run.tokenizer
  if not heads.has(run.params, 'mlm'):
    raise UserError('fill needs a run trained with the objective mlm')
  row = np.array(framing.text(t)(t.encode(text)), np.int32)
  places = np.flatnonzero(row == t.mask_id)
  if not len(places):
    raise UserError(
      f'--text has no {t.tokens([t.mask_id])[0]}: put one where to fill'
    )
  if len(row) > run.max_length:
    raise UserError(
      f'--text has {len(row)} tokens; the model takes {run.max_length}'
    )

  def forward(model):
    hidden = model(jnp.asarray(row[None]))[0, places]
    return jax.nn.softmax(mlm.mlm_logits(model, hidden))

  probabilities = np.asarray(run.call(forward))
  found = []
  for p in probabilities:
    best = np.argsort(-p, kind='stable')[:top]
    found.append(list(zip(t.tokens(best.tolist()), p[best].tolist())))
  return found


def define_flags():
  """Defines the flags of `ctxlm fill`."""
  cli.define_run_flags('runs/quickstart_mlm')
  flags.DEFINE_string('text', None, 'the text, with [MASK] where to fill')
  flags.DEFINE_integer('top', 5, 'tokens a mask')


def main():
  """Entry point of `ctxlm fill`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None:
    raise UserError('--text "... [MASK] ..." is needed')
  run = loading.load_with_tokenizer(F.workdir, F.step)
  for i, best in enumerate(fill(run, F.text, F.top), 1):
    print(f'mask {i}')
    for token, p in best:
      print(f'  {p:7.4f}  {token}')
