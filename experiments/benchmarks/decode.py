"""How many tokens a second are written, beside transformers.generate?

python -m experiments.benchmarks.decode --out runs/decode

One GPT-2-shaped model (6 layers, hidden 384, vocabulary 50,257, random
weights), float32; prompts of 32 tokens and 256 new ones, batches of 1 and 8;
greedy, sampling (temperature 0.8, top-k 50, top-p 0.95) and beam search with 4
beams. Transformers runs with its dynamic cache, with its static cache, and
with the static cache and torch.compile. All take turns, so that a busy moment
of the machine is shared; the medians are compared. Each one's first call, with
compilation and warm-up, has its own column.

Before the clock starts, greedy and beam search must give the same ids.

`of limit` is the share of the machine's memory bandwidth that a text of batch
1 reaches: what it must read, every weight once a token and the keys and
values so far, over the time, over the fastest read measured here.

Criterion: ctxlm's tokens per second / Transformers' fastest is 3.0 or more at
batch 1 and 2.0 or more at batch 8. `--smoke` runs a tiny model.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ctxlm
from ctxlm import cli, decoding
from ctxlm.decoding import generator
from ctxlm.experiments.benchmarks import turns
from ctxlm.lab import plots

TEMPERATURE, TOP_K, TOP_P, BEAMS = 0.8, 50, 0.95, 4
STRATEGIES = {
  'greedy': ({'name': 'greedy'}, (), {'do_sample': False}),
  'sample': (
    {'name': 'sample'},
    (
      {'name': 'temperature', 'temperature': TEMPERATURE},
      {'name': 'top_k', 'k': TOP_K},
      {'name': 'top_p', 'p': TOP_P},
    ),
    {
      'do_sample': True,
      'temperature': TEMPERATURE,
      'top_k': TOP_K,
      'top_p': TOP_P,
    },
  ),
  'beam': (
    {'name': 'beam', 'num_beams': BEAMS},
    (),
    {'do_sample': False, 'num_beams': BEAMS},
  ),
}
AIMS = {1: 3.0, 8: 2.0}  # by batch size


@dataclasses.dataclass(frozen=True)
class Shape:
  """The model and what it writes."""

  hidden_size: int = 384
  num_layers: int = 6
  num_heads: int = 6
  vocab_size: int = 50257
  prompt: int = 32
  new: int = 256

  def read(self, params):
    """Returns the bytes that a token of batch 1 must read, on average."""
    weights = sum(
      leaf.nbytes
      for path, leaf in jax.tree_util.tree_leaves_with_path(params)
      if 'position' not in jax.tree_util.keystr(path)
    )
    kept = 2 * self.num_layers * self.hidden_size * 4
    return weights + kept * (self.prompt + self.new / 2)


def build(shape):
  """Returns (the torch model, our Writer of the folder that it saves)."""
  import torch
  import transformers

  torch.manual_seed(0)
  model = transformers.GPT2LMHeadModel(
    transformers.GPT2Config(
      vocab_size=shape.vocab_size,
      n_embd=shape.hidden_size,
      n_layer=shape.num_layers,
      n_head=shape.num_heads,
      n_positions=2 * (shape.prompt + shape.new),
      # With the usual 0.02, logits are so close that rounding decides.
      initializer_range=0.1,
      bos_token_id=0,
      eos_token_id=None,  # all texts are of the same length
    )
  ).eval()
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    ours, params, _ = ctxlm.load(folder)
  return model, generator.Writer(ours, params, None, (), 0)


def make_ours(writer, strategy, new):
  """Returns prompts [b, l] -> new ids [b, new]."""
  config = decoding.base()
  config.strategy, config.processors, _ = STRATEGIES[strategy]
  config.max_new_tokens = new
  run = generator.Generator(writer, config)
  return lambda prompts: [row[0]['tokens'] for row in run(prompts.tolist())]


def make_theirs(model, strategy, new, kind):
  """Returns prompts [b, l] -> new ids [b, new], see `KINDS`."""
  import torch
  import transformers

  options = STRATEGIES[strategy][2] | {
    'max_new_tokens': new,
    'min_new_tokens': None,
    'pad_token_id': 0,
  }
  if kind != 'dynamic':
    options['cache_implementation'] = 'static'
  if kind == 'compile':
    compile_config = transformers.CompileConfig(fullgraph=False)
    # By default generate() compiles on accelerators only.
    compile_config._compile_all_devices = True
    options['compile_config'] = compile_config

  def run(prompts):
    tokens = torch.from_numpy(prompts).to(model.device)
    found = model.generate(
      tokens, attention_mask=torch.ones_like(tokens), **options
    )
    return found[:, prompts.shape[1] :].tolist()

  return run


KINDS = ('dynamic', 'static', 'compile')


def bandwidth(size, repeats=7):
  """Returns the most bytes a second that a product or a sum reads here."""
  import torch

  matrix = np.ones((size // 4096, 1024), np.float32)
  vector = np.ones(1024, np.float32)
  ours, theirs = jnp.asarray(matrix), torch.from_numpy(matrix)
  product = jax.jit(jnp.matmul)
  reads = {
    'jax': lambda _: product(ours, vector).block_until_ready(),
    'torch': lambda _: theirs @ torch.from_numpy(vector),
    'torch sum': lambda _: theirs.sum(),
    'numpy': lambda _: matrix @ vector,
  }
  turns.measure(reads, 1)
  times = turns.measure(reads, repeats)
  return matrix.nbytes / (min(map(min, times.values())) / 1e3)


def contend(shape, model, writer, strategy, batch_size, repeats, kinds):
  """Returns {name: seconds [repeats + 1]}, the first call's first.

  Raises:
    AssertionError: ids differ where nothing is drawn.
  """
  rng = np.random.default_rng(batch_size)
  prompts = rng.integers(0, shape.vocab_size, (batch_size, shape.prompt))
  runs = {'ctxlm': make_ours(writer, strategy, shape.new)}
  for kind in kinds:
    runs[f'transformers {kind}'] = make_theirs(model, strategy, shape.new, kind)
  first, found = {}, {}
  for name, run in list(runs.items()):
    start = time.perf_counter()
    try:
      found[name] = run(prompts)
    except Exception as error:  # a cache that this search can't use
      if name == 'ctxlm' or 'dynamic' in name:
        raise
      line = str(error).strip().splitlines()[0]
      print(f'{strategy}, batch {batch_size}: {name} fails: {line}')
      del runs[name]
      continue
    first[name] = 1e3 * (time.perf_counter() - start)
  for name, ids in found.items():
    assert np.shape(ids) == (batch_size, shape.new), (name, np.shape(ids))
    if strategy != 'sample':
      same = np.array_equal(ids, found['ctxlm'])
      assert same, f'{strategy}: {name} writes other ids than ctxlm'
  times = turns.measure(
    {name: lambda _, run=run: run(prompts) for name, run in runs.items()},
    repeats,
  )
  return {k: [ms / 1e3 for ms in (first[k], *times[k])] for k in runs}


def row_of(strategy, batch_size, new, times, read, limit):
  """Returns one row of results.json."""
  count = batch_size * new
  repeats = turns.speeds({k: v[1:] for k, v in times.items()}, count)
  speed = {k: float(np.median(v)) for k, v in repeats.items()}
  theirs = max(v for k, v in speed.items() if k != 'ctxlm')
  row = {
    'strategy': strategy,
    'batch_size': batch_size,
    'tokens_per_second': speed,
    'repeats': repeats,
    'fastest': {k: max(v) for k, v in repeats.items()},
    'first_call_seconds': {k: v[0] for k, v in times.items()},
    'ratios': {k: speed['ctxlm'] / v for k, v in speed.items()},
    'ratio': speed['ctxlm'] / theirs,
    'aim': AIMS.get(batch_size, AIMS[8]),
  }
  if batch_size == 1 and strategy != 'beam':
    row['of_limit'] = {k: v * read / limit for k, v in speed.items()}
  return row


def show(rows):
  """Returns the table as text: a line for each contender of each row."""
  lines = [
    f'{"strategy":9} {"batch":>5}  {"contender":21} {"tokens/s":>9}'
    f' {"fastest":>8} {"first, s":>9} {"ctxlm /":>8} {"of limit":>9}'
  ]
  for row in rows:
    for name, speed in row['tokens_per_second'].items():
      share = row.get('of_limit', {}).get(name)
      lines.append(
        f'{row["strategy"]:9} {row["batch_size"]:5}  {name:21} {speed:9.1f}'
        f' {row["fastest"][name]:8.1f} {row["first_call_seconds"][name]:9.1f}'
        f' {row["ratios"][name]:8.2f}'
        f' {"" if share is None else f"{share:.0%}":>9}'
      )
    lines.append(
      f'{row["strategy"]:9} {row["batch_size"]:5}  ratio to the fastest'
      f' {row["ratio"]:.2f}; the aim is {row["aim"]:g}'
    )
  return '\n'.join(lines)


def main(arguments=None):
  """Runs the benchmark; returns what results.json holds."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', default='runs/decode', help='folder')
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--batches', nargs='+', type=int, default=[1, 8])
  parser.add_argument('--strategies', nargs='+', default=list(STRATEGIES))
  parser.add_argument('--kinds', nargs='*', default=list(KINDS), choices=KINDS)
  parser.add_argument('--smoke', action='store_true', help='tiny and short')
  args = parser.parse_args(arguments)
  from ctxlm.experiments.benchmarks import reference  # before torch, see there

  shape, size, kinds = Shape(), 1 << 29, args.kinds
  if args.smoke:
    shape = Shape(32, 1, 2, vocab_size=61, prompt=5, new=8)
    size, kinds, args.repeats = 1 << 20, ('dynamic', 'static'), 1
  reference.torch.set_num_threads(turns.cores())
  limit = bandwidth(size)
  title = turns.machine('jax', 'torch', 'transformers')
  title += f'; reads {limit / 1e9:.1f} GB/s; load {os.getloadavg()[0]:.1f}'
  print(title)
  model, writer = build(shape)
  read, rows = shape.read(writer.params), []
  for batch_size in args.batches:
    for strategy in args.strategies:
      times = contend(
        shape, model, writer, strategy, batch_size, args.repeats, kinds
      )
      rows.append(row_of(strategy, batch_size, shape.new, times, read, limit))
      print(show(rows[-1:]).split('\n', len(rows) > 1)[-1], flush=True)
  found = {'machine': title, 'bytes_per_token': read, 'rows': rows}
  out = Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  (out / 'results.json').write_text(json.dumps(found, indent=2) + '\n')
  (out / 'results.txt').write_text(f'{title}\n{show(rows)}\n')
  plots.draw_bars(
    [f'{row["strategy"]}\nbatch {row["batch_size"]}' for row in rows],
    [row['repeats'] for row in rows],
    'new tokens / s',
    title,
    out / 'decode.png',
  )
  return found


if __name__ == '__main__':
  cli.use_huge_pages()
  main()
