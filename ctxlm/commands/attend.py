"""`ctxlm attend --text TEXT --word WORD --out FILE`.

Draws how much a word's tokens attend to each token of the text, by layer and
head. FILE.png, .pdf or .svg is a picture; FILE.html a page on which any token,
layer and head can be chosen.
"""

from pathlib import Path

from absl import flags

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.inference import attention, loading, pictures
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm attend`."""
  cli.define_run_flags('runs/quickstart_mlm')
  flags.DEFINE_string('text', None, 'the sentence')
  flags.DEFINE_string('word', None, 'a word of it')
  flags.DEFINE_integer('occurrence', 1, 'which of them, from 1', lower_bound=1)
  flags.DEFINE_string('out', 'attention.png', 'file: .png, .pdf, .svg, .html')


def main():
  """Entry point of `ctxlm attend`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None or F.word is None:
    raise UserError('--text "..." and --word WORD are needed')
  out = Path(F.out)
  if out.is_dir() or not out.absolute().parent.is_dir():
    raise UserError(f'--out {out}: name a file in a folder that is there')
  loaded = loading.load_with_tokenizer(F.workdir, F.step)
  tokens, weights, word = attention.attention_of(
    loaded, F.text, F.word, F.occurrence
  )
  try:
    if out.suffix == '.html':
      _, every, _ = attention.whole(loaded, F.text)
      pictures.write_page(tokens, every, word, F.out)
    else:
      pictures.draw(tokens, weights, word, F.out)
  except (OSError, ValueError) as e:
    raise UserError(f'--out {F.out}: {e}') from e
  print(f'{F.out}: {weights.shape[0]} layers, {weights.shape[1]} heads')
