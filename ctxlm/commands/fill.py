"""`ctxlm fill --text "... [MASK] ..."`: the best tokens for each mask."""

from absl import flags

from ctxlm import cli
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.inference.fill import fill
from ctxlm.parallel import processes


def define_flags():
  """Defines the flags of `ctxlm fill`."""
  cli.define_run_flags('runs/quickstart_mlm')
  flags.DEFINE_string('text', None, 'the text, with [MASK] where to fill')
  flags.DEFINE_integer('top', 5, 'tokens a mask', lower_bound=1)


def main():
  """Entry point of `ctxlm fill`."""
  F = flags.FLAGS
  processes.start()
  if F.text is None:
    raise UserError('--text "... [MASK] ..." is needed')
  run = loading.load_with_tokenizer(F.workdir, F.step)
  for i, best in enumerate(fill(run, F.text, F.top), 1):
    print(f'mask {i}')
    for token, p in best:
      print(f'  {p:7.4f}  {token}')
