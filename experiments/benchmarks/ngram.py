r"""How fast n-gram models are counted and scored, beside KenLM and nltk.

  python -m experiments.benchmarks.ngram
  python -m experiments.benchmarks.ngram --text brown.txt.gz \
    --train 800000 --validation 200000 --rare 3

For each order of interpolated modified Kneser-Ney: the seconds that counting
the training words takes, the tokens a second that are scored, bytes an n-gram,
and the perplexity of the next words (validation) and of the rest (test). The
text is one stream of words, as in Bengio et al. 2003, whose vocabulary are the
words seen more than 3 times in the whole text, the test's included (--rare 3).
Without --text it is the embedded corpus.

Beside it, where they are installed (pip install kenlm nltk): KenLM's queries of
the same model, which was written as an ARPA file and read by it, with the
largest difference of a logarithm; and nltk's counting and scoring of plain
Kneser-Ney, on few words, since it takes dictionaries. KenLM's own estimation,
lmplz, doesn't come with its Python package. Times are of one core, as the
processor counts them. Criterion: a million tokens of order 5 are counted in
less than 10 s and scored at 200,000 a second or more, with less than 100 bytes
an n-gram.
"""

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ctxlm import files
from ctxlm.data.sources import corpus
from ctxlm.families.formats import arpa
from ctxlm.models import counts, ngram

START, END, UNKNOWN = 0, 1, 2
NAMES = [arpa.START, arpa.END, arpa.UNKNOWN]
DISCOUNT = 0.75  # of plain Kneser-Ney
COLUMNS = ('counting', 'tokens/s', 'bytes', 'n-grams', 'validation', 'test')


def main(arguments=None):
  """Prints the table; returns its rows as dicts."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--text', help='a file, whose words are between spaces')
  parser.add_argument('--train', type=int, default=0, help='words; 0: 68 %%')
  parser.add_argument('--validation', type=int, default=0, help='0: 17 %%')
  parser.add_argument(
    '--rare', type=int, default=0, help='seen as often: <unk>'
  )
  parser.add_argument(
    '--mark', action='store_true', help='a word of its own between documents'
  )
  parser.add_argument('--orders', nargs='+', type=int, default=[3, 4, 5])
  parser.add_argument('--few', type=int, default=20000, help='words for nltk')
  args = parser.parse_args(arguments)
  tokens, words = read(args)
  a = args.train or int(0.68 * len(tokens))
  b = a + (args.validation or int(0.17 * len(tokens)))
  parts = [np.array([START, *t]) for t in np.split(tokens, [a, b])]
  parts[0] = np.append(parts[0], END)
  sizes = ' / '.join(f'{len(p) - 1:,}' for p in parts)
  print(f'{sizes} tokens, {len(words) - 1:,} words that can be')
  print(f'{"":<34}' + ''.join(f'{c:>12}' for c in COLUMNS))
  rows = []
  for order in args.orders:
    model, params, row = ours(parts, words, order)
    rows.append(show(row))
    if importlib.util.find_spec('kenlm'):
      rows.append(show(kenlm(model, params, parts, words)))
  if importlib.util.find_spec('nltk'):
    rows += map(show, nltk(parts, words, max(args.orders), args.few))
  return rows


def read(args):
  """Returns (ids of the text's words, [word of each id])."""
  if args.text:
    texts, text = [], []
    for line in files.lines(args.text):
      text += line.split()
      if not line.strip() and text:
        texts.append(text)
        text = []
    texts.append(text)
  else:
    records = corpus.Source().records('train')
    texts = [
      re.findall(r'\w+|[^\w\s]', records[i]['text'])
      for i in range(len(records))
    ]
  mark = ['<document>'] * args.mark
  stream = np.array([w for text in texts for w in (*text, *mark)])
  found, ids, often = np.unique(stream, return_inverse=True, return_counts=True)
  kept = often > args.rare
  place = np.where(kept, np.cumsum(kept) + len(NAMES) - 1, UNKNOWN)
  return place[ids], [*NAMES, *found[kept].tolist()]


def begins(tokens):
  """Returns where a stream begins."""
  return np.arange(len(tokens)) == 0


def timed(function, *args):
  """Returns (function's result, seconds of the processor)."""
  start = time.process_time()
  result = function(*args)
  return result, time.process_time() - start


def ours(parts, words, order, **options):
  """Returns (model, parameters, row) of the training part's model."""
  train, *judged = parts
  model = ngram.Model(vocab_size=len(words), order=order, **options)
  params, counting = timed(model.count, train, begins(train))
  table = counts.Lookup(model, params)
  logps, seconds = zip(*(timed(table, part, begins(part)) for part in judged))
  arrays = [x for own in params.values() for x in own.values()]
  size = sum(len(own['probs']) for own in params.values())
  losses = [-x[1:].mean() for x in logps]
  return (
    model,
    params,
    {
      'what': f'ctxlm, {model.estimator}, {order}',
      'counting': f'{counting:.2f} s',
      'tokens/s': sum(map(len, judged)) / sum(seconds),
      'bytes': sum(x.nbytes for x in arrays) / size,
      'n-grams': size,
      'validation': np.exp(losses[0]),
      'test': np.exp(losses[1]),
      'logps': logps,
    },
  )


HELD = """
import kenlm, sys
def resident():
  return int(open('/proc/self/statm').read().split()[1]) * 4096
before = resident()
model = kenlm.Model(sys.argv[1])
print(resident() - before)
"""


def kenlm(model, params, parts, words):
  """Returns the row of KenLM, which reads the model from an ARPA file."""
  library = importlib.import_module('kenlm')
  names, table = np.array(words), counts.Lookup(model, params)
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / 'model.arpa'
    arpa.write(path, params, model.order, words, START, END)
    config = library.Config()
    config.show_progress = False
    other = library.Model(str(path), config)
    held = subprocess.run(  # memory that was used before would hide some
      [sys.executable, '-c', HELD, path],
      capture_output=True,
      check=True,
      text=True,
    )
  texts = [' '.join(names[part[1:]]) for part in parts[1:]]
  _, seconds = timed(lambda: [other.score(t, eos=False) for t in texts])
  size = sum(len(own['probs']) for own in params.values())
  losses, differ = [], 0.0
  for part, text in zip(parts[1:], texts):
    theirs = [p for p, *_ in other.full_scores(text, eos=False)]
    theirs = np.array(theirs) * np.log(10)
    own = table(part, begins(part))[1:]
    losses.append(-theirs.mean())
    differ = max(differ, np.abs(theirs - own).max())
  return {
    'what': f'KenLM, differs by {differ:.0e}',
    'counting': '',
    'tokens/s': sum(len(p) - 1 for p in parts[1:]) / seconds,
    'bytes': int(held.stdout) / size,
    'n-grams': size,
    'validation': np.exp(losses[0]),
    'test': np.exp(losses[1]),
    'differ': differ,
  }


def nltk(parts, words, order, few):
  """Returns rows of nltk's plain Kneser-Ney, and of ours, on `few` words."""
  library = importlib.import_module('nltk')
  parts = [part[: size + 1] for part, size in zip(parts, (few, 300, 300))]
  options = dict(estimator='kneser_ney', discount=DISCOUNT, open_vocab=False)
  # nltk has no rule for what it never saw.
  seen = set(parts[0][1:].tolist())
  parts[1:] = [
    np.array([START, *(t for t in part[1:] if t in seen)]) for part in parts[1:]
  ]
  _, _, own = ours(parts, words, order, **options)
  own['what'] += f', {few:,} words'
  other = importlib.import_module('nltk.lm').KneserNeyInterpolated(
    order, DISCOUNT
  )
  train = parts[0].tolist()
  named = list(map(str, train))

  def fit():
    grams = list(library.everygrams(named, max_len=order))
    grams.remove((named[0],))
    other.fit([grams], vocabulary_text=named[1:])

  _, counting = timed(fit)
  texts = [list(map(str, part[1:].tolist())) for part in parts[1:]]

  def score():
    return [
      [
        other.logscore(text[t], text[t - order + 1 : t])
        for t in range(order - 1, len(text))
      ]
      for text in texts
    ]

  logps, seconds = timed(score)
  logps = [np.array(x) * np.log(2) for x in logps]
  same = [x[order:] for x in own['logps']]
  own['validation'], own['test'] = (np.exp(-x.mean()) for x in same)
  differ = max(np.abs(x - y).max() for x, y in zip(logps, same))
  return own, {
    'what': f'nltk, differs by {differ:.0e}',
    'counting': f'{counting:.2f} s',
    'tokens/s': sum(map(len, logps)) / seconds,
    'bytes': np.nan,
    'n-grams': own['n-grams'],
    'validation': np.exp(-logps[0].mean()),
    'test': np.exp(-logps[1].mean()),
    'differ': differ,
  }


def show(row):
  """Prints a row of the table and returns it."""
  size = '' if np.isnan(row['bytes']) else f'{row["bytes"]:.1f}'
  print(
    f'{row["what"]:<34}{row["counting"]:>12}{row["tokens/s"]:>12,.0f}'
    f'{size:>12}{row["n-grams"]:>12,}{row["validation"]:>12.1f}'
    f'{row["test"]:>12.1f}',
    flush=True,
  )
  return row


if __name__ == '__main__':
  main()
