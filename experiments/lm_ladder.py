r"""From counts to Transformers, and what mixing them brings.

Claims: a neural model mixed half and half with counts is better than both, even
if alone it is not (Bengio et al. 2003, JMLR 3:1137, table 1); an LSTM is better
than a feed-forward model (Zaremba et al. 2014, 1409.2329); a cache of the text
itself (Grave et al. 2017, 1612.04426) and neighbours among the training text's
states (Khandelwal et al. 2020, 1911.00172) make each model better still.

  ctxlm sweep experiments/lm_ladder.py --workdir runs/lm_ladder
  ctxlm report experiments/lm_ladder.py --workdir runs/lm_ladder

The text is one stream of words: of the embedded corpus, or of what is named by
`--config.tasks.text.data.path`. That is a folder with a file for each split,
such as PTB's ptb.train.txt, ptb.valid.txt and ptb.test.txt, or a file, which is
cut in its order: Brown as Bengio et al. have it with
`--config.tasks.text.data.train=800000` and
`--config.tasks.text.data.validation=200000`. Its words are those seen more than
3 times in the whole of it; one of them that the training words lack is unknown,
which they took for a word of its own.

Each point is a model that is trained alone. After its last step it is judged
beside interpolated modified Kneser-Ney counts of the same words: on the test
words, in windows in which each word has half a window before it. What a mixture
hangs on (weights by expectation maximization; the cache's theta; the
neighbours' temperature) is chosen on the validation words. Neighbours are asked
for the first words of both alone, as the search is exact. What a mixture gains
has an interval of a paired bootstrap over blocks of 1,000 words.

Seed 0 is not judged: the feed-forward model was run on it, with these settings
and no others, and 20,000 words asked of the neighbours. Perplexities: counts
116.0, with a cache 90.9; the model 126.3, mixed half and half 98.6, with a
cache of weight 0.39 73.7; neighbours gained 0.124 nats, of weight 0.21. The
copy of Brown that was at hand has lost the marks between paragraphs, and has
349.4 and 346.5 on the validation words, of order 3 and 5. PTB was not at hand.
Of the LSTM two layers were begun, and one, tied: 5.7 and 5.4 nats of training
after 260 steps. It was not run to its end, nor the Transformer.
"""

import collections
import dataclasses
import functools
import re
from pathlib import Path
from types import SimpleNamespace as Scale

import numpy as np

from ctxlm import files as files_lib
from ctxlm.configs import common
from ctxlm.data.sources import corpus, splits
from ctxlm.errors import UserError
from ctxlm.lab import verdicts
from ctxlm.lab.experiment import Claim, Line, Plot, Series
from ctxlm.lab.verdicts import Effect, Every, Finding, Mean
from ctxlm.ranges import Whole

SEEDS = verdicts.Seeds(tuned=(0,))
UNKNOWN, END = '<unk>', '<eos>'
SCALES = {
  'smoke': Scale(
    steps=(2, 2, 2), rows=2, length=8, stream=4, size=8, layers=1, asked=40
  ),
  'small': Scale(
    steps=(500, 1500, 500),
    rows=16,
    length=128,
    stream=35,
    size=128,
    layers=2,
    asked=10000,
  ),
  'large': Scale(
    steps=(10000, 30000, 10000),
    rows=64,
    length=256,
    stream=70,
    size=512,
    layers=4,
    asked=100000,
  ),
}
# The rungs: names of their models.
RUNGS = {'NNLM': 'feed_forward', 'LSTM': 'lstm', 'Transformer': 'transformer'}


@functools.cache
def _words(path):
  # [word] of a file, or of the embedded corpus.
  if path:
    return [w for line in files_lib.lines(path) for w in line.split()]
  records = [corpus.Source().records(s) for s in splits.SPLITS]
  texts = [own[i]['text'] for own in records for i in range(len(own))]
  return [w for t in texts for w in (*re.findall(r'\w+|[^\w\s]', t), END)]


@dataclasses.dataclass(frozen=True)
class Source:
  """A text as one stream of words.

  Attributes:
    path: '' is the embedded corpus; see above.
    train, validation: words of these splits of a file, the test's are the
      rest; 0 is 68 and 17 of 100.
    rare: words of a file that are seen as often at most are unknown.
  """

  path: str = ''
  train: Whole = 0
  validation: Whole = 0
  rare: Whole = 3

  def words(self, split):
    """Returns the words of a split.

    Raises:
      UserError: there are none, or no such split.
    """
    splits.check(split, splits.SPLITS, 'lm_ladder')
    if Path(self.path).is_dir() and self.path:
      found = sorted(Path(self.path).glob(f'*{split[:5]}*'))
      if len(found) != 1:
        raise UserError(f'{self.path} has {len(found)} files *{split[:5]}*')
      lines = [line.split() for line in files_lib.lines(found[0])]
      own = [w for line in lines for w in (*line, END)]
    else:
      own = self._cut(_words(self.path))[split]
    if len(own) < 2:
      raise UserError(f'lm_ladder: the split {split!r} has {len(own)} words')
    return own

  def _cut(self, words):
    often = collections.Counter(words)
    words = [w if often[w] > self.rare else UNKNOWN for w in words]
    a = self.train or int(0.68 * len(words))
    b = a + (self.validation or int(0.17 * len(words)))
    return {'train': words[:a], 'validation': words[a:b], 'test': words[b:]}

  def records(self, split):
    """Returns one record, the whole split."""
    return [{'text': ' '.join(self.words(split))}]

  def fingerprint(self, split):
    """Returns a hash of the split."""
    return files_lib.digest(*self.records(split)[0].values())


def get_config(scale='small'):
  """Returns the recipe of the feed-forward model."""
  s, c = SCALES[scale], common.base()
  c.batch_size, c.max_length = s.rows, s.length
  c.tokenizer.kind = 'word'
  c.tokenizer.vocab_size = 20000
  source = {'name': 'ctxlm.experiments.lm_ladder'}
  source |= {f.name: f.default for f in dataclasses.fields(Source)}
  c.tasks.text = common.task(source, {'name': 'causal'})
  c.optimizer.weight_decay = 0.0
  c.checkpoint.every_steps = 0
  c.checkpoint.keep = 1
  c.evaluators.ladder = {
    'name': 'ctxlm.experiments.mixtures',
    'window': s.length,
    'rows': s.rows,
    'asked': s.asked,
  }
  for key, value in sweep(scale)[0].items():
    c.update_from_flattened_dict({key: value})
  return c


def sweep(scale):
  """Returns the three models; the LSTM's state goes on from row to row."""
  s, same = SCALES[scale], {'dropout': 0.2}
  sizes = {'hidden_size': s.size, 'num_layers': s.layers}
  models = (
    {'name': 'feed_forward', 'order': 5, 'embedding_size': s.size // 2}
    | {'hidden_size': s.size, 'direct': False},
    {'name': 'lstm', 'hidden_size': s.size, 'tie_embeddings': True}
    | {'num_layers': -(-s.layers // 2)},
    common.gpt2_shape(num_heads=2, max_length=s.length, **sizes),
  )
  points = [
    {
      'model': model | same,
      'num_steps': steps,
      'optimizer.learning_rate': rate,
      'optimizer.warmup_steps': steps // 10,
    }
    for model, steps, rate in zip(models, s.steps, (5e-3, 5e-3, 3e-3))
  ]
  points[1] |= {
    'tasks.text.objective': {'name': 'causal', 'kind': 'stream'},
    'max_length': s.stream,
    'evaluators.ladder.window': 4 * s.length,
  }
  return points


PTB, BROWN = 929589, 800000  # words of training


def criteria():
  """Returns the claims."""
  return [
    Claim(
      'counts, and counts with a cache, are those of the literature',
      'Mikolov on PTB; Bengio et al. 2003, table 1, on Brown',
      'PTB, test: KN5 141.2, with a cache 125.7; Brown, validation: modified '
      'KN of order 3, 4 and 5 334, 332 and 332 (331 by ours)',
      'perplexities: where the text is PTB modified KN5 140.5 to 141.8 and '
      'with a cache 124 to 128; where it is Brown within 1 of 334, 332 and '
      '331; of another text nothing is judged',
      _counts,
    ),
    Claim(
      'a feed-forward model mixed with counts is better than both',
      'Bengio et al. 2003, table 1',
      'perplexity 252, alone 276, the best counts 312',
      'half and half, nats a word that it is better than each: the 95 % '
      f'interval over seeds is above 0{LEARNED}',
      _mixed,
    ),
    Claim(
      'an LSTM is better than a feed-forward model',
      'Zaremba et al. 2014; Mikolov on PTB',
      'perplexity 114.5 or 131.3, and 140.2',
      'nats a word between them: the 95 % interval over seeds is above 0'
      f'{LEARNED}',
      _recurrent,
    ),
    Claim(
      'a cache makes counts and every model better',
      'Grave et al. 2017, table 1; Mikolov on PTB',
      'LSTM 82.3, with a cache 72.1; KN5 141.2 and 125.7',
      f'{GAIN}; of the counts too',
      functools.partial(_widened, 'cache'),
    ),
    Claim(
      'nearest neighbours make every model better',
      'Khandelwal et al. 2020, table 1 and figure 5',
      '18.65 to 16.12, with a weight of 0.25',
      GAIN,
      functools.partial(_widened, 'nearest'),
    ),
  ]


LEARNED = "; both are 0.1 nats better than single words' counts"
GAIN = (
  'every seed: the 95 % interval of the gain (paired bootstrap over blocks of '
  '1,000 words) is above 0, and the best weight inside (0, 0.5), 0.005 to '
  "0.495; every model is 0.1 nats better than single words' counts"
)


def _of(results, rung, metric):
  own = results.where(model=lambda block: block['name'] == RUNGS[rung])
  return own.final(f'eval/ladder/{metric}')


def _nats(results, rung, worse, better):
  # By which of two perplexities a word is better.
  return np.log(_of(results, rung, worse) / _of(results, rung, better))


def _learned(results, rungs):
  return [
    Every(
      f'counts of single words - {rung}, nats',
      _nats(results, rung, 'counts_1', 'alone'),
      low=0.1,
    )
    for rung in rungs
  ]


def _counts(results):
  def of(metric):
    return _of(results, 'NNLM', metric)

  words = of('train_words')
  if (words == PTB).all():
    return Finding(
      wanted=[
        Every('KN5', of('counts_5'), low=140.5, high=141.8),
        Every('KN5 + cache', of('counts_cache'), low=124, high=128),
      ]
    )
  if (words == BROWN).all():
    return Finding(
      wanted=[
        Every(f'KN{n}, validation', of(f'counts_{n}_validation'), x - 1, x + 1)
        for n, x in ((3, 334), (4, 332), (5, 331))
      ]
    )
  shown = ('train_words', 'counts_3', 'counts_5', 'counts_cache')
  return Finding([], beside={m: of(m) for m in shown}, other='another text')


def _mixed(results):
  return Finding(
    wanted=[
      Mean('counts - mixed', _nats(results, 'NNLM', 'counts_5', 'half'), 0),
      Mean('alone - mixed', _nats(results, 'NNLM', 'alone', 'half'), 0),
    ],
    learned=_learned(results, ['NNLM']),
    beside={m: _of(results, 'NNLM', m) for m in ('counts_5', 'alone', 'half')},
  )


def _recurrent(results):
  own = {rung: _of(results, rung, 'alone') for rung in RUNGS}
  return Finding(
    wanted=[Mean('NNLM - LSTM', np.log(own['NNLM'] / own['LSTM']), low=0)],
    learned=_learned(results, ['NNLM', 'LSTM']),
    beside=own,
  )


def _widened(kind, results):
  own = [(rung, rung, kind) for rung in RUNGS]
  if kind == 'cache':
    own.append(('counts', 'NNLM', 'counts_cache'))
  found = {
    name: [_of(results, rung, f'{m}_{x}') for x in ('gain', 'low', 'share')]
    for name, rung, m in own
  }
  return Finding(
    wanted=[
      one
      for name, (_, low, share) in found.items()
      for one in (
        Every(f'{name}, least gain', low, low=0),
        Every(f'{name}, weight', share, low=0.005, high=0.495),
      )
    ],
    learned=_learned(results, RUNGS),
    effect=Effect(
      'least gain', np.min([gain for gain, *_ in found.values()], 0), 0.01
    ),
    beside={f'{name}, gain': gain for name, (gain, *_) in found.items()},
  )


def report(results):
  """Returns perplexities of the rungs, and what is gained by each mixture."""
  plots = []
  for name, title, y, metrics in (
    (
      'perplexity',
      '0: alone, 1: half and half with counts, 2: with a cache',
      'perplexity of the test words',
      ('alone', 'half', 'cache'),
    ),
    (
      'gain',
      '0: from a cache, 1: from nearest neighbours',
      'nats a word',
      ('cache_gain', 'nearest_gain'),
    ),
  ):
    series = []
    for rung, own in RUNGS.items():
      runs = results.where(model=lambda block, own=own: block['name'] == own)
      ys = np.array([runs.last(f'eval/ladder/{m}') for m in metrics]).T
      if ys.size:
        series.append(Series(rung, range(len(metrics)), ys, 'points'))
    lines = [Line('no gain', 0.0)]
    if name == 'perplexity':
      lines = [
        Line(word, results.level(f'eval/ladder/{metric}'))
        for word, metric in (
          ('counts', 'counts_5'),
          ('counts with a cache', 'counts_cache'),
        )
      ]
    plots.append(Plot(name, title, 'what it is mixed with', y, series, lines))
  return plots
