r"""Run a recipe's evaluators on a checkpoint.

A run has its own recipe; another folder needs one, whose data and evaluators
its model is judged by.

  ctxlm evaluate --model runs/quickstart_mlm
  ctxlm evaluate --model runs/mine --step=best \
    --config.evaluators.perplexity.split=test
  ctxlm evaluate --model runs/mine --context neural_cache:theta=0.3,window=500
  ctxlm evaluate --model gpt2 --config configs/quickstart_causal.py
  ctxlm evaluate --model mood-hf --config finetune:mood-hf,classification \
    --data dev.csv:text=review,label=mood
"""

import json

from ctxlm.commands import flags


def add_flags(parser):
  """Declares the flags of `ctxlm evaluate`."""
  flags.add_model(parser)
  flags.add_context(parser)
  parser.add_config("a recipe; left out, the run's own", needed=False)
  flags.add_data(parser, 'all of which is judged')
  flags.add_processes(parser)


def main(F):
  """Entry point of `ctxlm evaluate`."""
  from ctxlm.inference import judging
  from ctxlm.parallel import processes
  from ctxlm.training import tracking

  processes.start(F.coordinator, F.num_processes, F.process_id)
  judged = judging.judge(
    F.model, F.step, F.config, F.overrides, F.data, F.context
  )
  width = max((len(name) for name in judged.metrics), default=0)
  step = '' if judged.step is None else f', step {judged.step}'
  print(f'{judged.folder}{step}')
  for name, text in tracking.with_intervals(judged.metrics, '.6g').items():
    print(f'{name:<{width}}  {text}')
  for name, text in judged.signatures.items():
    print(f'{name:<{width}}  {text}')
  print(json.dumps({'step': judged.step, **judged.metrics}))
