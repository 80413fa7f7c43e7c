r"""Write a vector for each line of a text file.

float32 [lines, hidden size], as numpy reads it, made on all devices.

  ctxlm embed --model all-MiniLM-L6-v2 --input lines.txt --output vectors.npy
  ctxlm embed --model bert-base-uncased --pooling=mean --input lines.txt \
    --output vectors.npy
  cat lines.txt | ctxlm embed --model all-MiniLM-L6-v2 --output vectors.npy
"""

import contextlib
from pathlib import Path

from ctxlm.commands import flags
from ctxlm.errors import UserError
from ctxlm.parallel import locks


def add_flags(parser):
  """Declares the flags of `ctxlm embed`."""
  flags.add_model(parser)
  parser.add(
    'what is read',
    '--input',
    metavar='FILE',
    help='a text a line; left out, standard input',
  )
  parser.add(
    'what is written',
    '--output',
    metavar='FILE.npy',
    needed=True,
    help='the vectors; a file of that name is replaced',
  )
  parser.add(
    'how',
    '--pooling',
    **flags.one_of(('cls', 'mean', 'max', 'weightedmean', 'lasttoken')),
    help="left out, the folder's own; a run of no contrastive task has none",
  )
  flags.add_rows(parser, "the folder's own")


def main(F):
  """Entry point of `ctxlm embed`."""
  import jax

  from ctxlm import files
  from ctxlm.families import hub
  from ctxlm.inference import lines, loading, widening
  from ctxlm.objectives import vectors as vectors_lib
  from ctxlm.parallel import pmap as pmap_lib
  from ctxlm.parallel import processes
  from ctxlm.training import run_folder, tracking

  output = Path(F.output)
  if output.suffix != '.npy' or not output.resolve().parent.is_dir():
    raise UserError(f'--output {output}: name a .npy file in a folder')
  texts = list(lines.read(F.input))
  if not texts:
    raise UserError(f'{lines.named(F.input)} is empty')
  processes.start()
  folder = hub.find(F.model)
  own = run_folder.is_one(folder)
  placement = None if own else pmap_lib.Pmap(jax.devices())
  loaded = loading.load(folder, placement, F.step)
  widening.need_plain(loaded)
  placement = loaded.run.program.placement if loaded.run else placement
  embed = vectors_lib.Embedder(
    loaded, placement, F.pooling or '', F.max_length, F.batch_size
  )
  with (
    contextlib.closing(locks.Lock.of_output(output)),
    contextlib.closing(tracking.Progress(len(texts), 0, 'line')) as progress,
  ):
    vectors = embed(texts, progress)
    files.write_array(output, vectors)
  print(f'{output}: {vectors.shape[0]} x {vectors.shape[1]}, {embed.pooling}')
