"""How fast is the exact search of a datastore?

python -m experiments.benchmarks.nearest

Keys of normal numbers are written as a datastore, mapped into memory, and
searched: keys that all queries look at, in millions a second, for each number
of queries at once; beside torch's product and `topk` over the whole, in one run
and in turns, and FAISS's IndexFlat where it is installed. Then bytes a key, the
memory that the search takes beside the file, and what 10 million keys of that
width are.

Criterion: as many keys a second as torch, of all queries together, or more.
`--smoke` takes few keys.
"""

import argparse
import importlib.util
import resource
import tempfile
from pathlib import Path

import jax
import numpy as np
import torch

from ctxlm.context import search, store
from ctxlm.experiments.benchmarks import turns

TEN_MILLION = 10**7
BATCH = 2**14  # keys that are written at a time


def main(arguments=None):
  """Prints the table; returns its rows as dicts."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--keys', type=int, default=10**6)
  parser.add_argument('--width', type=int, default=256)
  parser.add_argument('--k', type=int, default=64)
  parser.add_argument('--queries', type=int, nargs='+', default=[1, 64, 256])
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--smoke', action='store_true', help='few keys')
  args = parser.parse_args(arguments)
  if args.smoke:
    args.keys, args.width, args.queries, args.repeats = 5000, 16, [1, 8], 1
  print(turns.machine('jax', 'torch'))
  with tempfile.TemporaryDirectory() as folder:
    opened = write(Path(folder) / 'store', args.keys, args.width)
    return measure(opened, args)


def write(folder, count, width):
  """Returns a Store of `count` keys of normal numbers."""
  rng = np.random.default_rng(0)
  writer = store.Writer(folder, width, 'normal numbers', 'seed 0', BATCH)
  for start in range(0, count, BATCH):
    size = min(BATCH, count - start)
    keys = rng.standard_normal((size, width), np.float32)
    writer.put(keys, rng.integers(0, 50000, size))
  writer.close(done=True)
  return store.open_folder(folder)


def measure(opened, args):
  """Prints the table of a Store; returns its rows."""
  before = taken()
  keys, norms = (jax.device_put(opened.arrays[n]) for n in ('keys', 'norms'))
  ours = jax.jit(search.nearest, static_argnums=3)
  rng, rows = np.random.default_rng(1), []
  queries = {
    n: rng.standard_normal((n, opened.width), np.float32) for n in args.queries
  }
  found = {}
  for n, states in queries.items():
    found[n] = jax.device_get(ours(keys, norms, states, args.k))
  own = taken() - before
  contenders = others(opened, args.k)
  for n, states in queries.items():
    for name, call in contenders.items():
      distances = np.asarray(call(states))
      agree = np.allclose(distances, found[n][0], rtol=1e-3, atol=0.05)
      assert agree, f'{name} finds others'

    def search_ours(_, states=states):
      jax.block_until_ready(ours(keys, norms, states, args.k))

    calls = {'ours': search_ours} | {
      name: lambda _, call=call, states=states: call(states)
      for name, call in contenders.items()
    }
    times = turns.measure(calls, args.repeats)
    row = {'queries': n}
    for name, own_times in times.items():
      row[name] = n * opened.count / (1e-3 * min(own_times))
    rows.append(row)
    print(
      f'{n:>6} queries: '
      + ', '.join(f'{k} {row[k] / 1e6:,.2f} M keys/s' for k in times),
      flush=True,
    )
  size = sum(array.nbytes for array in opened.arrays.values()) / opened.count
  print(
    f'{size:.0f} bytes a key of {opened.width}; {own / 2**20:,.0f} MiB beside '
    f'the file; {TEN_MILLION:,} keys: {size * TEN_MILLION / 2**30:.1f} GiB, '
    f'of 768: {(2 * 768 + 8) * TEN_MILLION / 2**30:.1f} GiB'
  )
  return rows


def others(opened, k):
  """Returns {name: states -> squared distances [q, k]} of other libraries."""
  keys = torch.from_numpy(np.asarray(opened.arrays['keys'], np.float32))
  norms = torch.from_numpy(np.array(opened.arrays['norms']))

  def with_torch(states):
    found = []
    for some in torch.from_numpy(states).split(64):
      scores = torch.addmm(norms, some, keys.T, alpha=-2)
      best = scores.topk(k, largest=False).values
      found.append(best + some.square().sum(1, keepdim=True))
    return torch.cat(found).numpy()

  contenders = {'torch': with_torch}
  if importlib.util.find_spec('faiss'):
    import faiss

    index = faiss.IndexFlatL2(opened.width)
    index.add(keys.numpy())
    contenders['faiss'] = lambda states: index.search(states, k)[0]
  return contenders


def taken():
  """Returns the bytes that this process has taken, beside mapped files."""
  for line in Path('/proc/self/status').read_text().splitlines():
    if line.startswith('RssAnon:'):
      return int(line.split()[1]) * 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == '__main__':
  main()
