"""Draw how much a word attends to each token, by layer and head.

A picture, or with FILE.html a page on which any token, layer and head can be
chosen. Of an encoder-decoder it is the encoder that attends.

  ctxlm attend --model runs/quickstart_mlm --text "The quick fox" --word fox
  ctxlm attend --model gpt2 --text "a cat and a cat" --word cat --occurrence 2
  ctxlm attend --model gpt2 --text "a cat" --word cat --out cat.html
"""

from pathlib import Path

from ctxlm import ranges
from ctxlm.commands import flags
from ctxlm.errors import UserError


def add_flags(parser):
  """Declares the flags of `ctxlm attend`."""
  flags.add_model(parser)
  flags.add_text(parser, 'the text')
  use = 'what is shown'
  parser.add(use, '--word', metavar='WORD', needed=True, help='a word of it')
  parser.add(
    use,
    '--occurrence',
    metavar='N',
    type=flags.number(ranges.Count),
    default=1,
    help='which of them, from 1',
  )
  parser.add(
    'what is written',
    '--out',
    metavar='FILE',
    default='attention.png',
    help='FILE.png, .pdf, .svg or .html',
  )


def main(F):
  """Entry point of `ctxlm attend`."""
  from ctxlm.inference import attention, lines, loading, pictures
  from ctxlm.parallel import processes

  out = Path(F.out)
  if out.is_dir() or not out.absolute().parent.is_dir():
    raise UserError(f'--out {out}: name a file in a folder that is there')
  if not out.suffix:
    raise UserError(f'--out {out}: end it in .png, .pdf, .svg or .html')
  lines.check_one(F)
  processes.start()
  loaded = loading.load_with_tokenizer(F.model, F.step)
  text = F.text if F.text is not None else lines.only(F.input)
  tokens, weights, word = attention.attention_of(
    loaded, text, F.word, F.occurrence
  )
  try:
    if out.suffix == '.html':
      _, every, _ = attention.whole(loaded, text)
      pictures.write_page(tokens, every, word, F.out)
    else:
      pictures.draw(tokens, weights, word, F.out)
  except ValueError as e:
    raise UserError(f'--out {F.out}: {e}') from e
  print(f'{F.out}: {weights.shape[0]} layers, {weights.shape[1]} heads')
