"""`ctxlm train --config CONFIG --workdir DIR`.

The same command again goes on from the newest checkpoint.
"""

from absl import flags
from ml_collections import config_flags

from ctxlm import cli
from ctxlm import config as config_lib
from ctxlm.errors import UserError
from ctxlm.parallel import processes
from ctxlm.training import loop


def define_flags():
  """Defines the flags of `ctxlm train`."""
  config_flags.DEFINE_config_file('config', None, 'recipe: configs/NAME.py')
  flags.DEFINE_string('workdir', None, 'run folder')
  cli.define_process_flags()


def main():
  """Entry point of `ctxlm train`."""
  F = flags.FLAGS
  if F.config is None:
    raise UserError('--config configs/NAME.py is needed')
  if F.workdir is None:
    raise UserError('--workdir DIR is needed: the run folder')
  try:
    config_lib.check(F.config)
  except OSError as e:  # ml_collections keeps a failed load until it is read
    path = config_flags.get_config_filename(F['config'])
    raise UserError(f'--config {path}: no such recipe') from e
  processes.start(F.coordinator, F.num_processes, F.process_id)
  loop.train(F.config, F.workdir)
