"""`ctxlm evaluate --workdir DIR`: the config's evaluators on a checkpoint."""

import json
from pathlib import Path

from absl import flags

from ctxlm import cli
from ctxlm.parallel import processes
from ctxlm.training import run_folder as run_lib


def define_flags():
  """Defines the flags of `ctxlm evaluate`."""
  cli.define_run_flags()
  cli.define_process_flags()


def main():
  """Entry point of `ctxlm evaluate`."""
  F = flags.FLAGS
  processes.start(F.coordinator, F.num_processes, F.process_id)
  run = run_lib.load(F.workdir, F.step)
  names = list(run.config.evaluators)
  run.program.bench.rehearse(run.params)  # mistakes come before long work
  results = run.program.evaluate(names, run.params)
  width = max((len(k) for k in results), default=0)
  print(f'{Path(F.workdir)}, step {run.step}')
  for name, value in results.items():
    print(f'{name:<{width}}  {value:.6g}')
  print(json.dumps({'step': run.step, **results}))
