"""Each token's log-probability in its context.

The chain rule: log p(x) = sum_t log p(x_t | x_<t), natural logarithm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError


def score(run, text):
  """Returns ([token], [log p(token | before)]) of a text.

  Args:
    run: ctxlm.inference.loading.Loaded, or a Run, of a causal model.
    text: at least one token; its start is conditioned on the bos token.

  Raises:
    UserError: the text is empty or too long, or the model isn't causal, or
      reads a source.
  """
  if run.model.encoder_decoder:
    raise UserError(
      'score needs a decoder alone; this model writes a text from another'
    )
  if not run.model.causal:
    raise UserError('score needs a causal model; this one sees both sides')
  ids = run.tokenizer.encode(text)
  if not ids:
    raise UserError('--text is empty')
  limit = run.max_length
  if len(ids) > limit:
    raise UserError(f'--text has {len(ids)} tokens; the model takes {limit}')
  first = framing.document(run.tokenizer).first
  row = np.array([*first, *ids], np.int32)

  def forward(model):
    return jax.nn.log_softmax(model.logits(model(jnp.asarray(row[None, :-1]))))

  logp = np.asarray(run.call(forward))[0]
  return run.tokenizer.tokens(ids), logp[np.arange(len(ids)), ids].tolist()
