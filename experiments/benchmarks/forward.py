"""How many sentences a second become vectors, beside sentence-transformers?

python -m experiments.benchmarks.forward --out runs/forward

One MiniLM-shaped folder (6 layers, hidden 384, random weights, mean pooling)
and 2,000 real sentences of mixed length, from Python's documentation, through
`ctxlm embed` and through `SentenceTransformer.encode`, from text to vectors,
tokenising included, float32. They take turns, so that a busy moment of the
machine is shared; the medians are compared. Each one's first call, with
compilation and warm-up, has its own column.

Before the clock starts, both must give the same vectors.

Criterion: ctxlm's sentences per second / sentence-transformers' is 1.5 or more.
`--smoke` runs a tiny model on a few sentences.
"""

import argparse
import json
import os
import pydoc_data.topics
import tempfile
from pathlib import Path

import jax
import numpy as np

from ctxlm import cli
from ctxlm.data.sources import sentences
from ctxlm.data.tokenizers import tokenizer as tokenizer_lib
from ctxlm.experiments.benchmarks import turns
from ctxlm.families import sentence
from ctxlm.inference import loading
from ctxlm.lab import plots
from ctxlm.objectives.vectors import Embedder
from ctxlm.parallel import pmap as pmap_lib

TOLERANCE = 1e-4  # absolute, of vectors whose length is about 20
COUNT, SIZE, LAYERS = 2000, 384, 6
MAX_LENGTH = 128


def read_sentences(count):
  """Returns sentences of Python's documentation, of 2 to 80 words."""
  topics = pydoc_data.topics.topics
  texts = []
  for name in sorted(topics):
    for paragraph in topics[name].split('\n\n'):
      texts += sentences.split(' '.join(paragraph.split()))
  texts = [s for s in dict.fromkeys(texts) if 1 < len(s.split()) <= 80]
  order = np.random.default_rng(0).permutation(len(texts))[:count]
  return [texts[i] for i in order]


def write_folder(folder, texts, size, layers):
  """Writes a sentence-transformers folder of random weights."""
  import torch
  import transformers

  tokenizer = tokenizer_lib.train('wordpiece', 8000, texts)
  vocab = '\n'.join(tokenizer.tokens(range(tokenizer.vocab_size))) + '\n'
  (folder / 'vocab.txt').write_text(vocab, encoding='utf-8')
  transformers.BertTokenizer(vocab=str(folder / 'vocab.txt')).save_pretrained(
    folder
  )
  torch.manual_seed(0)
  config = transformers.BertConfig(
    vocab_size=30_522,
    hidden_size=size,
    num_hidden_layers=layers,
    num_attention_heads=size // 32,
    intermediate_size=4 * size,
    # With the usual 0.02, all vectors are nearly one.
    initializer_range=0.1,
  )
  transformers.BertModel(config).save_pretrained(folder)
  sentence.restate(
    folder, sentence.Sentence('mean', max_length=MAX_LENGTH), size
  )
  return tokenizer


def make_contenders(folder):
  """Returns {name: texts -> vectors}."""
  from sentence_transformers import SentenceTransformer

  placement = pmap_lib.Pmap(jax.devices()[:1])
  ours = Embedder(loading.load(folder, placement), placement)
  theirs = SentenceTransformer(str(folder), device='cpu')
  return {
    'ctxlm': ours,
    'sentence-transformers': lambda texts: theirs.encode(
      texts, show_progress_bar=False
    ),
  }


def measure(contenders, texts, repeats):
  """Returns {name: seconds [repeats + 1]}, the first call's first.

  Raises:
    AssertionError: their vectors differ by more than TOLERANCE.
  """
  vectors = {}

  def call(name, embed):
    def one(_):
      vectors[name] = embed(texts)

    return one

  calls = {name: call(name, embed) for name, embed in contenders.items()}
  first = turns.measure(calls, 1)
  ours, theirs = vectors.values()
  assert theirs.std(0).mean() > 0.01, 'all vectors are nearly one'
  np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
  times = turns.measure(calls, repeats)
  return {
    name: [ms / 1e3 for ms in (*first[name], *times[name])] for name in calls
  }


def main(arguments=None):
  """Runs the benchmark; returns what results.json holds."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', default='runs/forward', help='folder')
  parser.add_argument('--repeats', type=int, default=7)
  parser.add_argument('--smoke', action='store_true', help='tiny and short')
  args = parser.parse_args(arguments)
  from ctxlm.experiments.benchmarks import reference  # before torch, see there

  count, size, layers = COUNT, SIZE, LAYERS
  if args.smoke:
    count, size, layers, args.repeats = 40, 64, 1, 1
  machine = turns.machine('jax', 'torch', 'sentence-transformers')
  reference.torch.set_num_threads(turns.cores())
  texts = read_sentences(count)
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    tokenizer = write_folder(folder, texts, size, layers)
    times = measure(make_contenders(folder), texts, args.repeats)
  lengths = [len(i) + 2 for i in tokenizer.encode_batch(texts)]
  repeats = turns.speeds({k: v[1:] for k, v in times.items()}, count)
  speed = {k: float(np.median(v)) for k, v in repeats.items()}
  results = {
    'machine': f'{machine}; load {os.getloadavg()[0]:.1f}',
    'sentences': count,
    'tokens': {
      k: float(np.percentile(lengths, p))
      for k, p in (('least', 0), ('median', 50), ('most', 100))
    },
    'sentences_per_second': speed,
    'repeats': repeats,
    'fastest': {k: max(v) for k, v in repeats.items()},
    'first_call_seconds': {k: v[0] for k, v in times.items()},
    'ratio': speed['ctxlm'] / speed['sentence-transformers'],
  }
  print(show(results))
  out = Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
  (out / 'results.txt').write_text(show(results) + '\n')
  plots.draw_bars(
    [f'{count} sentences'],
    [repeats],
    'sentences / s',
    results['machine'],
    out / 'forward.png',
  )
  return results


def show(results):
  """Returns the table as text."""
  tokens = ', '.join(f'{k} {v:.0f}' for k, v in results['tokens'].items())
  lines = [
    results['machine'],
    f'{results["sentences"]} sentences; tokens: {tokens}',
    f'{"":24}{"sentences/s":>12}{"fastest":>10}{"first call, s":>15}',
  ]
  for name, speed in results['sentences_per_second'].items():
    fastest, first = (
      results[k][name] for k in ('fastest', 'first_call_seconds')
    )
    lines.append(f'{name:24}{speed:12.0f}{fastest:10.0f}{first:15.1f}')
  lines.append(f'ratio {results["ratio"]:.2f}; the criterion is 1.5')
  return '\n'.join(lines)


if __name__ == '__main__':
  cli.use_huge_pages()
  main()
