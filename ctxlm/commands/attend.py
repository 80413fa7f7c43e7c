"""`ctxlm attend --text TEXT --word WORD --out FILE.png`.

Draws how much a word's tokens attend to each token of the sentence, one panel
a layer, one row a head.
"""

from absl import flags

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.inference import attention, loading
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm attend`."""
  cli.define_run_flags('runs/quickstart_mlm')
  flags.DEFINE_string('text', None, 'the sentence')
  flags.DEFINE_string('word', None, 'a word of it')
  flags.DEFINE_string('out', 'attention.png', 'picture to write')


def main():
  """Entry point of `ctxlm attend`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None or F.word is None:
    raise UserError('--text "..." and --word WORD are needed')
  run = loading.load_with_tokenizer(F.workdir, F.step)
  tokens, weights = attention.attention_of(run, F.text, F.word)
  try:
    attention.draw(tokens, weights, F.word, F.out)
  except (OSError, ValueError) as e:
    raise UserError(f'--out {F.out}: {e}') from e
  print(f'{F.out}: {weights.shape[0]} layers, {weights.shape[1]} heads')
