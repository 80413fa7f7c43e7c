"""`ctxlm embed --model DIR --input FILE.txt --output FILE.npy`.

A vector for each line of a text file, float32 [lines, hidden size], on all
devices.
"""

import contextlib
from pathlib import Path

import jax
from absl import flags

from ctxlm import files
from ctxlm.errors import UserError
from ctxlm.inference import loading
from ctxlm.inference import vectors as vectors_lib
from ctxlm.parallel import pmap as pmap_lib
from ctxlm.parallel import processes
from ctxlm.training import run_folder, tracking


def define_flags():
  """Defines the flags of `ctxlm embed`."""
  flags.DEFINE_string('model', None, 'folder of any kind')
  flags.DEFINE_string(
    'step', '', "of a run: '' is the newest, 'best', a number"
  )
  flags.DEFINE_string('input', None, 'text file, a sentence a line')
  flags.DEFINE_string('output', None, 'file.npy to write')
  flags.DEFINE_enum('pooling', '', ['', 'cls', 'mean'], "'': the folder's own")
  flags.DEFINE_integer(
    'max_length', 0, "tokens; 0: the folder's own", lower_bound=0
  )
  flags.DEFINE_integer('batch_size', 32, 'sentences', lower_bound=1)


def main():
  """Entry point of `ctxlm embed`."""
  F = flags.FLAGS
  for name in ('model', 'input', 'output'):
    if F[name].value is None:
      raise UserError(f'--{name} is needed')
  output = Path(F.output)
  if output.suffix != '.npy' or not output.resolve().parent.is_dir():
    raise UserError(f'--output {output}: name a .npy file in a folder')
  try:
    texts = list(files.lines(F.input))
  except UserError as e:
    raise UserError(f'--input {F.input}: {e}') from e
  if not texts:
    raise UserError(f'--input {F.input} is empty')
  processes.start()
  own = run_folder.is_one(Path(F.model))
  placement = None if own else pmap_lib.Pmap(jax.devices())
  loaded = loading.load(F.model, placement, F.step)
  placement = loaded.run.program.placement if loaded.run else placement
  embed = vectors_lib.Embedder(
    loaded, placement, F.pooling, F.max_length, F.batch_size
  )
  with (
    contextlib.closing(files.Lock.of_output(output)),
    contextlib.closing(tracking.Progress(len(texts), 0, 'line')) as progress,
  ):
    vectors = embed(texts, progress)
    files.write_array(output, vectors)
  print(f'{output}: {vectors.shape[0]} x {vectors.shape[1]}, {embed.pooling}')
