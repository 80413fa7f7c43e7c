r"""Print each token's log-probability in its context.

Of lines, one JSON object for each: the text, its tokens, the logarithm of each
one's probability, their sum, and the perplexity a token.

  ctxlm score --model runs/quickstart --text "The cat sat on the mat"
  ctxlm score --model runs/mine --context interpolate:runs/ngram,weight=0.3 \
    --text "The cat sat on the mat"
  ctxlm score --model gpt2 --input lines.txt > scores.jsonl
  echo "The cat sat on the mat" | ctxlm score --model runs/quickstart
"""

import functools
import math

from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm score`."""
  flags.add_model(parser)
  flags.add_context(parser)
  flags.add_text(parser, 'a text, whose tokens are shown one a line')


def main(F):
  """Entry point of `ctxlm score`."""
  from ctxlm.inference import lines, loading, score, widening
  from ctxlm.parallel import processes

  lines.check_one(F)
  processes.start()
  loaded = loading.load_with_tokenizer(F.model, F.step)
  score.need_causal(loaded)
  loaded = widening.widen(loaded, F.context)
  if F.text is not None:
    show(*score.score(loaded, F.text))
    return
  answer = functools.partial(score.of_texts, loaded)
  for text, (tokens, logps) in lines.answers(F.input, answer):
    row = {'text': text, 'tokens': tokens}
    row['logps'] = [round(x, 6) for x in logps]
    row['sum'], row['perplexity'] = round(sum(logps), 6), perplexity(logps)
    lines.write(row)


def perplexity(logps):
  """Returns exp of the mean surprise, or None of no token."""
  return math.exp(-sum(logps) / len(logps)) if logps else None


def show(tokens, logps):
  """Prints a table."""
  width = max(len(t) for t in tokens)
  for token, logp in zip(tokens, logps, strict=True):
    print(f'{token:<{width}}  {logp:9.4f}')
  print(f'{"sum":<{width}}  {sum(logps):9.4f}')
  print(f'perplexity {perplexity(logps):.2f} a token')
