r"""Run a recipe's evaluators on a checkpoint.

A run has its own recipe; another folder needs one, whose data and evaluators
its model is judged by; or a task, which a causal model is shown a few examples
of. Settings of a task are `--config.evaluators.NAME.KEY`, see
ctxlm/evaluators/few_shot.py.

  ctxlm evaluate --model runs/quickstart_mlm
  ctxlm evaluate --model runs/mine --step=best \
    --config.evaluators.perplexity.split=test
  ctxlm evaluate --model runs/mine --context neural_cache:theta=0.3,window=500
  ctxlm evaluate --model gpt2 --config configs/quickstart_causal.py
  ctxlm evaluate --model mood-hf --config finetune:mood-hf,classification \
    --data dev.csv:text=review,label=mood
  ctxlm evaluate --model gpt2 --few_shot configs/tasks/sst2.py \
    --config.evaluators.sst2.shots=4 --output answers.jsonl
"""

import json

from ctxlm import recipes
from ctxlm.commands import flags
from ctxlm.errors import note


def add_flags(parser):
  """Declares the flags of `ctxlm evaluate`."""
  flags.add_model(parser)
  flags.add_context(parser)
  parser.add_config("a recipe; left out, the run's own", needed=False)
  flags.add_data(parser, 'all of which is judged')
  parser.add(
    'what is read',
    '--few_shot',
    metavar='TASK',
    help='a task of configs/tasks/, in place of a recipe',
    completer=lambda: recipes.ours(recipes.TASK),
  )
  parser.add(
    'what is written',
    '--output',
    metavar='FILE',
    help='new file of what evaluators say of each example, as few_shot does: a '
    'JSON object a line',
  )
  flags.add_processes(parser)


def main(F):
  """Entry point of `ctxlm evaluate`."""
  from ctxlm.inference import judging, outputs
  from ctxlm.parallel import processes
  from ctxlm.training import tracking

  processes.start(F.coordinator, F.num_processes, F.process_id)
  if F.output is not None:
    outputs.need_new(F.output)
  judged = judging.judge(
    F.model,
    F.step,
    F.config,
    F.overrides,
    F.data,
    F.context,
    F.few_shot,
  )
  if F.output is not None and not judged.examples:
    note('--output: no evaluator here tells of examples: nothing is written')
  elif F.output is not None:
    outputs.write_new(
      F.output,
      (
        {'evaluator': name} | row
        for name, rows in judged.examples.items()
        for row in rows
      ),
    )
  width = max((len(name) for name in judged.metrics), default=0)
  step = '' if judged.step is None else f', step {judged.step}'
  print(f'{judged.folder}{step}')
  for name, text in tracking.with_intervals(judged.metrics, '.6g').items():
    print(f'{name:<{width}}  {text}')
  for name, text in judged.signatures.items():
    print(f'{name:<{width}}  {text}')
  print(json.dumps({'step': judged.step, **judged.metrics}))
