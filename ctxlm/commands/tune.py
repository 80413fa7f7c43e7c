r"""Find the options of what widens a model, on a held-out split.

Each --context's options that are not said are tried, and the weights of all are
the likeliest (expectation maximization). The last line is what score, evaluate
and generate take.

  ctxlm tune --model runs/quickstart --context neural_cache
  ctxlm tune --model runs/mine --context interpolate:runs/ngram \
    --context neural_cache:window=500 --split test
  ctxlm tune --model gpt2 --config configs/quickstart_causal.py \
    --context neural_cache --data dev.txt
"""

import math

from ctxlm.commands import flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm tune`."""
  flags.add_model(parser)
  flags.add_context(parser)
  flags.add_split(parser, 'validation')


def main(F):
  """Entry point of `ctxlm tune`."""
  from ctxlm.inference import tuning
  from ctxlm.parallel import processes

  if not F.context:
    raise UserError('--context is needed: say what is to be tuned')
  processes.start()
  tuned = tuning.tune(
    F.context,
    F.split,
    F.task,
    **flags.opened(F),
  )
  step = '' if tuned.step is None else f', step {tuned.step}'
  print(f'{tuned.folder}{step}: {tuned.tokens:,} tokens of {F.split}')
  for name, nats in (('alone', tuned.alone), ('widened', tuned.nats)):
    nats_, perplexity = f'{nats:.4f} nats', f'{math.exp(min(nats, 700)):.2f}'
    print(f'{name:<8} {nats_}, perplexity {perplexity}')
  print(' '.join(f'--context {text}' for text in tuned.said))
