r"""Train a recipe, or go on with a run that was interrupted.

The same command again goes on from the newest checkpoint.

  ctxlm train --config configs/quickstart_causal.py --workdir runs/quickstart
  ctxlm train --config configs/quickstart_mlm.py --workdir runs/mine \
    --config.optimizer.learning_rate=3e-4 --config.num_steps=500
  ctxlm train --config configs/finetune.py:bert-base-uncased \
    --workdir runs/tuned --config.tasks.text.data.pattern='text/*.txt'

Every key of a recipe stands with a comment in `ctxlm/config.py`.
"""

from ctxlm import flags


def add_flags(parser):
  """Declares the flags of `ctxlm train`."""
  parser.add_config('a recipe: configs/NAME.py, or FILE:ARGUMENT')
  parser.add(
    'what is written',
    '--workdir',
    metavar='DIR',
    needed=True,
    help='the run folder',
  )
  flags.add_processes(parser)


def main(F):
  """Entry point of `ctxlm train`."""
  from ctxlm import config as config_lib
  from ctxlm import overrides, recipes
  from ctxlm.parallel import processes
  from ctxlm.training import loop

  config = overrides.apply(recipes.load(F.config), F.overrides)
  config_lib.check(config)
  processes.start(F.coordinator, F.num_processes, F.process_id)
  loop.train(config, F.workdir)
