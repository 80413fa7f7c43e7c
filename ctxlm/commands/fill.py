"""Print the best tokens for each mask of a text.

Of lines, one JSON object for each: the text, and for each mask its tokens with
their probabilities.

  ctxlm fill --model runs/quickstart_mlm --text "The quick [MASK] fox"
  ctxlm fill --model bert-base-uncased --text "Paris is in [MASK]." --top=3
  ctxlm fill --model bert-base-uncased --input lines.txt > filled.jsonl
"""

from ctxlm import ranges
from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm fill`."""
  flags.add_model(parser)
  flags.add_text(parser, 'a text, with [MASK] where to fill')
  parser.add(
    'what is shown',
    '--top',
    metavar='N',
    type=flags.number(ranges.Count),
    default=5,
    help='tokens a mask',
  )


def main(F):
  """Entry point of `ctxlm fill`."""
  from ctxlm.inference import fill, lines, loading
  from ctxlm.parallel import processes

  lines.check_one(F)
  processes.start()
  loaded = loading.load_with_tokenizer(F.model, F.step)
  if F.text is not None:
    show(fill.fill(loaded, F.text, F.top))
    return

  def answer(texts):
    return [fill.fill(loaded, text, F.top, needed=False) for text in texts]

  for text, masks in lines.answers(F.input, answer):
    best = [[(token, round(p, 6)) for token, p in own] for own in masks]
    lines.write({'text': text, 'masks': best})


def show(masks):
  """Prints a table for each mask."""
  for i, best in enumerate(masks, 1):
    print(f'mask {i}')
    for token, p in best:
      print(f'  {p:7.4f}  {token}')
