"""`ctxlm score --text TEXT`: each token's log-probability in its context.

The chain rule: log p(x) = sum_t log p(x_t | x_<t), natural logarithm.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from ctxlm import cli
from ctxlm.data import framing
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.parallel import processes


def score(run, text):
  """Returns ([token], [log p(token | before)]) of a text.

  Args:
    run: ctxlm.inference.loading.Loaded, or a Run, of a causal model.
    text: at least one token; its start is conditioned on the bos token.

  Raises:
    UserError: the text is empty or too long, or the model isn't causal.
  """
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


def define_flags():
  """Defines the flags of `ctxlm score`."""
  cli.define_run_flags('runs/quickstart')
  flags.DEFINE_string('text', None, 'the text')


def main():
  """Entry point of `ctxlm score`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None:
    raise UserError('--text "..." is needed')
  tokens, logps = score(loading.load_with_tokenizer(F.workdir, F.step), F.text)
  width = max(len(t) for t in tokens)
  for token, logp in zip(tokens, logps, strict=True):
    print(f'{token:<{width}}  {logp:9.4f}')
  total = sum(logps)
  print(f'{"sum":<{width}}  {total:9.4f}')
  print(f'perplexity {np.exp(-total / len(logps)):.2f} a token')
