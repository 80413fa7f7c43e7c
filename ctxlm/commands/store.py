r"""Write a datastore of a model's states, for --context nearest.

The states that predict a text's tokens, with these tokens: 2 m + 8 bytes each
of a model that is m wide. The same command goes on where it was stopped.

  ctxlm store --model runs/quickstart --output stores/quickstart
  ctxlm store --model runs/mine --step=best --split train --output stores/mine
  ctxlm store --model gpt2 --config configs/quickstart_causal.py \
    --data 'books/*.txt' --output stores/books
  ctxlm tune --model runs/quickstart --context nearest:stores/quickstart
"""

from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm store`."""
  flags.add_model(parser)
  flags.add_split(parser, 'train')
  parser.add(
    'what is written',
    '--output',
    metavar='DIR',
    needed=True,
    help='the datastore',
  )


def main(F):
  """Entry point of `ctxlm store`."""
  from ctxlm.inference import storing
  from ctxlm.parallel import processes

  processes.start()
  store = storing.write(
    F.output,
    F.split,
    F.task,
    **flags.opened(F),
  )
  size = sum(array.nbytes for array in store.arrays.values())
  print(
    f'{store.folder}: {store.count:,} keys of {store.width}, '
    f'{size / store.count:.0f} bytes each, {size:,} bytes'
  )
