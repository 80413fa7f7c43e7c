"""How fast is a training step, beside Hugging Face Transformers on PyTorch?

python -m experiments.benchmarks.train_step --out runs/train_step

Forward pass, backward pass, clipping and AdamW, float32, of the same model,
from the same weights, on the same batches made from a seed: causal (GPT-2),
masked (BERT) and contrastive (SimCSE), with dropout and without. ctxlm runs
as `ctxlm train` does, by pmap and by a mesh, with the state donated; torch
runs eagerly and through torch.compile. All take turns, of two steps whose
second is timed, so that a busy moment of the machine is shared; the medians
are compared.

Before the clock starts, both sides must give the same loss on every batch,
and, without dropout, the same losses over the first steps of training.
ctxlm computes a masked LM's logits at the masked positions only, Transformers
at all: that is a difference of method, not of result.

Criterion: torch's time / ctxlm's is 1.0 or more for causal, 2.0 for masked.
`--smoke` runs tiny shapes in seconds, without torch.compile.
"""

import argparse
import dataclasses
import functools
import json
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm import cli, plugins, trees
from ctxlm import config as config_lib
from ctxlm.configs import common
from ctxlm.experiments.benchmarks import turns
from ctxlm.lab import plots
from ctxlm.objectives.task import eval_step
from ctxlm.parallel import placement as placement_lib
from ctxlm.training import program as program_lib

TOLERANCE = 1e-4  # relative, of losses that must be equal
BATCHES = 4  # different ones, in turn


@dataclasses.dataclass(frozen=True)
class Case:
  """One objective, model and batch."""

  objective: str
  batch_size: int
  max_length: int
  vocab_size: int
  hidden_size: int = 384
  num_layers: int = 6
  num_heads: int = 6
  temperature: float = 0.05
  dtype: str = 'float32'

  @property
  def tokens(self):
    """Tokens that the model reads in a step."""
    views = 2 if self.objective == 'contrastive' else 1
    return self.batch_size * self.max_length * views

  def model(self, dropout):
    """Returns `config.model`."""
    shape = (
      common.gpt2_shape if self.objective == 'causal' else common.bert_shape
    )
    return shape(
      self.hidden_size,
      self.num_layers,
      self.num_heads,
      vocab_size=self.vocab_size,
      max_length=self.max_length,
      dropout=dropout,
      attention_dropout=dropout,
      dtype=self.dtype,
    )


CASES = {
  'causal': Case('causal', 8, 256, 8192),
  'mlm': Case('mlm', 16, 128, 30522),
  'contrastive': Case('contrastive', 64, 32, 30522),
}


def tiny(cases):
  """Returns {name: Case} of the same kinds, which take seconds."""
  shape = dict(hidden_size=32, num_layers=1, num_heads=2, vocab_size=64)
  return {
    name: dataclasses.replace(case, batch_size=4, max_length=16, **shape)
    for name, case in cases.items()
  }


SMOKE = tiny(CASES)


def make_tokenizer(case):
  """Returns a tokenizer whose text is numbers."""
  return types.SimpleNamespace(
    vocab_size=case.vocab_size,
    pad_id=0,
    cls_id=1,
    sep_id=2,
    mask_id=3,
    bos_id=1,
    eos_id=2,
    unk_id=None,
    special_ids={0, 1, 2, 3},
    encode=lambda text, data=False: [int(w) for w in text.split()],
  )


def make_objective(case):
  """Returns ctxlm's objective."""
  return plugins.build(
    'objectives',
    {'name': case.objective},
    tokenizer=make_tokenizer(case),
    max_length=case.max_length,
  )


def make_batches(case, seed=0):
  """Returns batches of uniform tokens, through the objective's `prepare`.

  Rows are full for causal and masked; sentences are of 8 tokens to a row.
  """
  rng = np.random.default_rng(seed)
  objective, length = make_objective(case), case.max_length

  def example():
    if case.objective == 'contrastive':
      words = rng.integers(4, case.vocab_size, rng.integers(6, length - 1))
      return {'text': ' '.join(map(str, words))}
    tokens = rng.integers(4, case.vocab_size, length).astype(np.int32)
    place = np.arange(length, dtype=np.int32)
    return {
      'tokens': tokens,
      'segment_ids': np.ones(length, np.int32),
      'positions': place,
    }

  batches = []
  for _ in range(BATCHES):
    rows = [objective.prepare(example(), rng) for _ in range(case.batch_size)]
    batch = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
    batch['index'] = np.arange(case.batch_size, dtype=np.int32)
    batch['valid'] = batch['present'] = np.ones(case.batch_size, np.float32)
    batches.append(batch)
  return batches


def make_config(case, strategy='pmap', dropout=0.0, backend='auto'):
  """Returns the config of a run: AdamW, constant rate, norm clipped."""
  config = config_lib.base()
  config.seed, config.num_steps = 0, 1
  config.batch_size, config.max_length = case.batch_size, case.max_length
  config.model = case.model(dropout) | {'attention_backend': backend}
  config.tasks.task = {
    'data': {'name': 'corpus'},  # not read: see make_batches
    'objective': {'name': case.objective},
    'weight': 1.0,
  }
  config.parallel.strategy = strategy
  config.optimizer.schedule = 'constant'
  config.optimizer.learning_rate = 1e-4
  config.optimizer.warmup_steps = 0
  return config


def make_ctxlm(case, strategy, dropout, torch_model, backend='auto'):
  """Returns (step, evaluate, program) of ctxlm.

  The first two are functions of a batch to its loss.

  Args:
    case: Case.
    strategy: 'pmap' or 'mesh'.
    dropout: rate.
    torch_model: whose weights it starts from.
    backend: of attention.
  """
  from ctxlm.experiments.benchmarks import reference

  config = make_config(case, strategy, dropout, backend)
  placement = placement_lib.make(config, jax.devices()[:1])
  sample = {k: v[:2] for k, v in make_batches(case)[0].items()}
  program = program_lib.build(
    config, placement, make_tokenizer(case), {'task': sample}
  )
  names = {n: x.shape for n, x in trees.flatten(program.shapes).items()}
  values = reference.copied(case, torch_model, names)
  state = program.init(
    trees.map_with_name(lambda n, _: jnp.asarray(values[n]), program.shapes)
  )
  (task,) = program.tasks
  test = placement.compile(
    functools.partial(eval_step, task=task, apply=program.apply)
  )

  def step(batch):
    nonlocal state
    state, metrics = program.step(state, placement.put({'task': batch}))
    return float(jax.block_until_ready(metrics)['loss'])

  def evaluate(batch):
    sums, _ = test((state.params, {}), placement.put(batch))
    total, count = sums['loss']
    return float(total) / float(count)

  return step, evaluate, program


def make_contenders(case, dropout, compiled):
  """Returns {name: step}, all from the same weights and found to agree.

  Raises:
    AssertionError: their losses differ by more than TOLERANCE.
  """
  import torch

  from ctxlm.experiments.benchmarks import reference

  torch.manual_seed(0)
  first = reference.build(case, dropout)
  batches = make_batches(case)
  with torch.no_grad():
    first.eval()
    wanted = [
      reference.loss(case, first, reference.features(case, b)).item()
      for b in batches
    ]
  steps = {}
  for strategy in ('pmap', 'mesh'):
    name = f'ctxlm {strategy}'
    steps[name], evaluate, _ = make_ctxlm(case, strategy, dropout, first)
    losses = [evaluate(b) for b in batches]
    np.testing.assert_allclose(losses, wanted, TOLERANCE, err_msg=name)
  for name in ('torch eager', 'torch compile')[: 2 if compiled else 1]:
    model = reference.build(case, dropout)
    model.load_state_dict(first.state_dict())
    step = reference.make_step(
      model.train(),
      functools.partial(reference.features, case),
      functools.partial(reference.loss, case),
      make_config(case),
      'compile' in name,
    )
    try:
      curve = [step(b) for b in batches]  # compiles
    except torch._dynamo.exc.TorchDynamoException as error:
      print(f'{name} does not work here: {str(error).splitlines()[0]}')
      continue
    steps[name] = step
    if not dropout:
      wanted = curve
  for name, step in steps.items():
    if name.startswith('ctxlm'):
      curve = [step(b) for b in batches]
      if not dropout:  # gradients, clipping and update agree as well
        np.testing.assert_allclose(curve, wanted, TOLERANCE, err_msg=name)
  return steps


def row_of(case_name, case, dropout, times):
  """Returns one row of results.json."""
  middle = {k: float(np.median(v)) for k, v in times.items()}
  seconds = {k: [ms / 1e3 for ms in v] for k, v in times.items()}
  ours = {k: v for k, v in middle.items() if k.startswith('ctxlm')}
  return {
    'case': case_name,
    'dropout': dropout,
    'milliseconds': middle,
    'fastest_milliseconds': {k: float(min(v)) for k, v in times.items()},
    'tokens_per_second': {k: 1e3 * case.tokens / v for k, v in middle.items()},
    'repeats': turns.speeds(seconds, case.tokens),
    'ratios': {
      f'{theirs} / {own}': middle[theirs] / middle[own]
      for theirs in middle
      if theirs not in ours
      for own in ours
    },
  }


def show(rows):
  """Returns the table as text: a line for each contender of each row."""
  lines = [
    f'{"case":12} {"dropout":>7}  {"contender":14} {"ms":>8} {"fastest":>8}'
    f' {"tokens/s":>9} {"/ pmap":>7} {"/ mesh":>7}'
  ]
  for row in rows:
    for name, ms in row['milliseconds'].items():
      ratios = [
        f'{row["ratios"][f"{name} / ctxlm {own}"]:.2f}'
        if name.startswith('torch')
        else ''
        for own in ('pmap', 'mesh')
      ]
      lines.append(
        f'{row["case"]:12} {row["dropout"]:7.2f}  {name:14} {ms:8.1f}'
        f' {row["fastest_milliseconds"][name]:8.1f}'
        f' {row["tokens_per_second"][name]:9.0f}'
        f' {ratios[0]:>7} {ratios[1]:>7}'
      )
  return '\n'.join(lines)


def main(arguments=None):
  """Runs the benchmark; returns the rows of results.json."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', default='runs/train_step', help='folder')
  parser.add_argument('--cases', nargs='+', default=list(CASES), choices=CASES)
  parser.add_argument('--dropout', nargs='+', type=float, default=[0.1, 0.0])
  parser.add_argument('--repeats', type=int, default=15)
  parser.add_argument('--smoke', action='store_true', help='tiny and short')
  parser.add_argument(
    '--compile', action=argparse.BooleanOptionalAction, default=True
  )
  args = parser.parse_args(arguments)

  from ctxlm.experiments.benchmarks import reference  # before torch, see there

  cases = SMOKE if args.smoke else CASES
  reference.torch.set_num_threads(turns.cores())
  title = turns.machine('jax', 'torch', 'transformers')
  print(title)
  rows = []
  for case_name in args.cases:
    case = cases[case_name]
    for dropout in args.dropout:
      steps = make_contenders(case, dropout, args.compile and not args.smoke)
      batches = make_batches(case)
      times = turns.measure(
        {
          name: lambda i, step=step, batches=batches: step(batches[i % BATCHES])
          for name, step in steps.items()
        },
        2 if args.smoke else args.repeats,
        untimed=1,
      )
      rows.append(row_of(case_name, case, dropout, times))
      print(show(rows[-1:]).split('\n', len(rows) > 1)[-1], flush=True)
  out = Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  (out / 'results.json').write_text(
    json.dumps({'machine': title, 'rows': rows}, indent=2) + '\n'
  )
  (out / 'results.txt').write_text(f'{title}\n{show(rows)}\n')
  plots.draw_bars(
    [f'{row["case"]}\ndropout {row["dropout"]:g}' for row in rows],
    [row['repeats'] for row in rows],
    'tokens / s',
    title,
    out / 'train_step.png',
  )
  return rows


if __name__ == '__main__':
  cli.use_huge_pages()
  main()
