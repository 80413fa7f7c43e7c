"""How near is a step to what a GPU can do, beside torch.compile?

python -m experiments.benchmarks.gpu --out runs/gpu

One command for a machine with a GPU, with `pip install 'ctxlm[gpu]'` and a
torch for CUDA beside it. Training steps of GPT-2's 124 million parameters, rows
of 1,024 tokens; BERT base, rows of 128 and 512; SimCSE's of BERT base, 64 pairs
of 32 tokens; bfloat16 (torch by autocast), without dropout: ctxlm with cuDNN's
attention ('auto') and with XLA's, torch eager and torch.compile with its own
fused attention. They take turns in one process, of two steps whose second is
timed, so JAX must leave memory for torch: it takes what it needs
(XLA_PYTHON_CLIENT_PREALLOCATE=false). And GPT-2 writes 256 tokens at batches of
1, 8 and 64, float32, as `decode` compares it.

Before the clock starts, both sides must give the same loss on every batch, to
bfloat16's precision. MFU is the model's FLOPs, as `ctxlm plan` counts them,
over the median's time and the dense peak of ctxlm/parallel/chips.py. Memory is
a step's, as XLA says, and what torch had at most.

Criterion: MFU 0.50 or more for GPT-2, and no case behind torch.compile.
`--smoke` runs tiny shapes on whatever is here, without torch.compile.
"""

import argparse
import functools
import json
import os
from pathlib import Path

# Before jax, which would take three quarters of the memory.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

import jax
import numpy as np

from ctxlm import cli
from ctxlm.experiments.benchmarks import decode, train_step, turns
from ctxlm.lab import tables
from ctxlm.parallel import chips
from ctxlm.parallel.memory import size
from ctxlm.training import flops
from ctxlm.training import program as program_lib

BASE = dict(hidden_size=768, num_layers=12, num_heads=12, dtype='bfloat16')
CASES = {
  'GPT-2 124M, 16 x 1,024': train_step.Case('causal', 16, 1024, 50304, **BASE),
  'BERT base, 128 x 128': train_step.Case('mlm', 128, 128, 30522, **BASE),
  'BERT base, 32 x 512': train_step.Case('mlm', 32, 512, 30522, **BASE),
  'SimCSE base, 64 x 32': train_step.Case('contrastive', 64, 32, 30522, **BASE),
}
SMOKE = train_step.tiny(CASES)
BACKENDS = ('auto', 'xla')
TOLERANCE = 0.02  # relative, of losses in bfloat16 that must be equal
GPT2 = decode.Shape(768, 12, 12)
BATCHES = (1, 8, 64)  # that GPT-2 writes


def model_flops(case):
  """Returns the FLOPs of a step of the model, nothing computed twice."""
  program = program_lib.build(
    train_step.make_config(case, backend='xla'),
    flops.Nowhere(),
    train_step.make_tokenizer(case),
    {'task': train_step.make_batches(case)[0]},
  )
  return flops.count(program.lower().jaxpr)


def make_contenders(case, compiled):
  """Returns ({name: step}, {name: bytes of memory}), found to agree.

  Raises:
    AssertionError: their losses differ by more than TOLERANCE.
  """
  from ctxlm.experiments.benchmarks import reference

  torch = reference.torch
  torch.manual_seed(0)
  first = reference.build(case, 0.0).eval()
  batches = train_step.make_batches(case)
  features = functools.partial(reference.features, case)
  loss = functools.partial(reference.loss, case)
  with torch.no_grad():
    wanted = [loss(first, features(b)).item() for b in batches]
  steps, held = {}, {}
  for backend in BACKENDS:
    name = f'ctxlm {backend}'
    steps[name], evaluate, program = train_step.make_ctxlm(
      case, 'pmap', 0.0, first, backend
    )
    losses = [evaluate(b) for b in batches]
    np.testing.assert_allclose(losses, wanted, TOLERANCE, err_msg=name)
    said = program.lower().compile().memory_analysis()
    held[name] = said.temp_size_in_bytes + said.argument_size_in_bytes
  for name in ('torch eager', 'torch compile')[: 2 if compiled else 1]:
    model = reference.build(case, 0.0)
    model.load_state_dict(first.state_dict())
    config = train_step.make_config(case)
    steps[name] = reference.make_step(
      model.train(), features, loss, config, 'compile' in name
    )
    if reference.DEVICE == 'cuda':
      torch.cuda.reset_peak_memory_stats()
    steps[name](batches[0])
    if reference.DEVICE == 'cuda':
      held[name] = torch.cuda.max_memory_allocated()
  return steps, held


def row_of(name, case, times, held, peak):
  """Returns one row of results.json.

  Args:
    name, case: of CASES.
    times: {contender: milliseconds [repeats]}.
    held: {contender: bytes}.
    peak: FLOPs a second, or None where the device's is not known.
  """
  middle = {k: float(np.median(v)) for k, v in times.items()}
  work = model_flops(case)
  ours = min(v for k, v in middle.items() if k.startswith('ctxlm'))
  theirs = min(v for k, v in middle.items() if k.startswith('torch'))
  return {
    'case': name,
    'flops': work,
    'milliseconds': middle,
    'fastest_milliseconds': {k: float(min(v)) for k, v in times.items()},
    'tokens_per_second': {k: 1e3 * case.tokens / v for k, v in middle.items()},
    'mfu': {k: 1e3 * work / v / peak for k, v in middle.items() if peak},
    'bytes': held,
    'ratio': theirs / ours,
  }


def show(rows):
  """Returns the table as text: a line for each contender of each row."""
  lines = [
    ['case', 'contender', 'ms', 'tokens/s', 'MFU', 'memory', "torch's / ours"]
  ]
  for row in rows:
    for name, ms in row['milliseconds'].items():
      mfu, held = row['mfu'].get(name), row['bytes'].get(name)
      lines.append(
        [
          row['case'],
          name,
          f'{ms:.2f}',
          f'{row["tokens_per_second"][name]:,.0f}',
          '' if mfu is None else f'{mfu:.3f}',
          '' if held is None else size(held),
          f'{row["ratio"]:.2f}',
        ]
      )
  return tables.aligned(lines)


def main(arguments=None):
  """Runs the benchmark; returns what results.json holds."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', default='runs/gpu', help='folder')
  parser.add_argument('--cases', nargs='+', default=list(CASES), choices=CASES)
  parser.add_argument('--repeats', type=int, default=20)
  parser.add_argument('--batches', nargs='*', type=int, default=BATCHES)
  parser.add_argument('--smoke', action='store_true', help='tiny and short')
  args = parser.parse_args(arguments)

  from ctxlm.experiments.benchmarks import reference

  if not args.smoke and jax.default_backend() != 'gpu':
    parser.error('JAX sees no GPU: --smoke is for other machines')
  cases, kinds = CASES, decode.KINDS
  shape, repeats = GPT2, args.repeats
  if args.smoke:
    cases, kinds, repeats = SMOKE, ('dynamic',), 2
    shape = decode.Shape(32, 1, 2, vocab_size=61, prompt=5, new=8)
  device = jax.devices()[0].device_kind
  chip = chips.of(device)
  title = f'{device}; {turns.machine("jax", "torch", "transformers")}'
  print(title)
  rows, out = [], Path(args.out)
  out.mkdir(parents=True, exist_ok=True)

  def write(more=()):
    found = {'machine': title, 'rows': rows, 'decode': list(more)}
    (out / 'results.json').write_text(json.dumps(found, indent=2) + '\n')
    return found

  for name in args.cases:
    steps, held = make_contenders(cases[name], not args.smoke)
    batches = train_step.make_batches(cases[name])
    times = turns.measure(
      {
        k: lambda i, step=step, batches=batches: step(batches[i % len(batches)])
        for k, step in steps.items()
      },
      repeats,
      untimed=1,
    )
    rows.append(
      row_of(name, cases[name], times, held, chip.flops if chip else None)
    )
    print(show(rows[-1:]), flush=True)
    write()  # what was measured stays, if the next one fails
  written = []
  if args.batches:
    model, writer = decode.build(shape)
    model, limit = model.to(reference.DEVICE), chip.hbm_rate if chip else 1e12
    read = shape.read(writer.params)
  for batch in args.batches:
    times = decode.contend(shape, model, writer, 'greedy', batch, 3, kinds)
    written.append(
      decode.row_of('greedy', batch, shape.new, times, read, limit)
    )
    print(decode.show(written[-1:]), flush=True)
    write(written)
  return write(written)


if __name__ == '__main__':
  cli.use_huge_pages()
  main()
