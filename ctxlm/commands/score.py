"""`ctxlm score --text TEXT`: each token's log-probability in its context."""

import numpy as np
from absl import flags

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.inference.score import score
from ctxlm.parallel import processes


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
  run = loading.load_with_tokenizer(F.workdir, F.step)
  tokens, logps = score(run, F.text)
  width = max(len(t) for t in tokens)
  for token, logp in zip(tokens, logps, strict=True):
    print(f'{token:<{width}}  {logp:9.4f}')
  total = sum(logps)
  print(f'{"sum":<{width}}  {total:9.4f}')
  print(f'perplexity {np.exp(-total / len(logps)):.2f} a token')
