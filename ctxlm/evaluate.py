"""`ctxlm evaluate --workdir DIR`: the config's evaluators on a checkpoint."""

import json
import sys
from pathlib import Path

from absl import flags

from ctxlm import cli, parallel
from ctxlm import run as run_lib


def define_flags():
  """Defines the flags of `ctxlm evaluate`."""
  cli.define_run_flags()
  cli.define_process_flags()


def main():
  """Entry point of `ctxlm evaluate`."""
  F = flags.FLAGS
  parallel.start(F.coordinator, F.num_processes, F.process_id)
  run = run_lib.load(F.workdir, F.step)
  names = list(run.config.evaluators)
  results = run.context().run(names, run.params, run.step)
  width = max((len(k) for k in results), default=0)
  print(f'{Path(F.workdir)}, step {run.step}')
  for name, value in results.items():
    print(f'{name:<{width}}  {value:.6g}')
  print(json.dumps({'step': run.step, **results}))


if __name__ == '__main__':
  cli.run(sys.modules[__name__])
