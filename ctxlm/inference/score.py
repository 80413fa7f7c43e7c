"""Each token's log-probability in its context.

The chain rule: log p(x) = sum_t log p(x_t | x_<t), natural logarithm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.data import framing
from ctxlm.errors import UserError


def score(loaded, text):
  """Returns ([token], [log p(token | before)]) of a text.

  Args:
    loaded: ctxlm.inference.loading.Loaded of a causal model.
    text: at least one token; its start is conditioned on the bos token.

  Raises:
    UserError: the text is empty or too long, or the model isn't causal, or
      reads a source.
  """
  if loaded.model.encoder_decoder:
    raise UserError(
      'score needs a decoder alone; this model writes a text from another'
    )
  if not loaded.model.causal:
    raise UserError('score needs a causal model; this one sees both sides')
  ids = loaded.tokenizer.encode(text)
  if not ids:
    raise UserError('--text is empty')
  limit = loaded.max_length
  if len(ids) > limit:
    raise UserError(f'--text has {len(ids)} tokens; the model takes {limit}')
  first = framing.document(loaded.tokenizer).first
  row = np.array([*first, *ids], np.int32)

  def forward(model):
    return jax.nn.log_softmax(model.logits(model(jnp.asarray(row[None, :-1]))))

  logp = np.asarray(loaded.call(forward))[0]
  return loaded.tokenizer.tokens(ids), logp[np.arange(len(ids)), ids].tolist()
