r"""Train a recipe, or go on with a run that was interrupted.

The same command again goes on from the newest checkpoint.

  ctxlm train --config configs/quickstart_causal.py --workdir runs/quickstart
  ctxlm train --config configs/quickstart_mlm.py --workdir runs/mine \
    --config.optimizer.learning_rate=3e-4 --config.num_steps=500
  ctxlm train --config finetune:bert-base-uncased --workdir runs/tuned \
    --data 'text/*.txt'
  ctxlm train --config gpt2_small --workdir runs/gpt2 --profile=5

`ctxlm recipes` lists those of ours. Every key of a recipe stands with a comment
in `ctxlm/config.py`; --config.KEY=VALUE sets it, and any option of a plug-in.
"""

from ctxlm import ranges
from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm train`."""
  parser.add_config('a recipe: NAME, or the path of a file; NAME:ARGUMENT')
  flags.add_data(parser)
  parser.add(
    'what is written',
    '--workdir',
    metavar='DIR',
    needed=True,
    help='the run folder',
  )
  parser.add(
    'what is written',
    '--profile',
    metavar='STEPS',
    type=flags.number(ranges.Count),
    default=0,
    help='a trace of so many steps, after the first ones, which compile: '
    'DIR/profile, for TensorBoard and Perfetto; and a table of the five '
    'dearest operations',
  )
  flags.add_processes(parser)


def main(F):
  """Entry point of `ctxlm train`."""
  from ctxlm import config as config_lib
  from ctxlm import recipes
  from ctxlm.parallel import processes
  from ctxlm.recipes import overrides, own_data
  from ctxlm.training import loop

  config = recipes.load(F.config)
  own_data.with_each(config, F.data)
  overrides.apply(config, F.overrides)
  config_lib.check(config)
  processes.start(F.coordinator, F.num_processes, F.process_id)
  loop.train(config, F.workdir, profile=F.profile)
