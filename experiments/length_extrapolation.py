"""Train short, test long: which position schemes extrapolate.

Claim (Press et al. 2022, 2108.12409, figure 1): models with sinusoidal
positions break a few dozen tokens beyond the length that they were trained
at, rotary ones hold a little longer, T5's bias longer still; ALiBi's
perplexity stays or improves far beyond.

  ctxlm sweep experiments/length_extrapolation.py --workdir runs/length \\
    --seeds=2 [--config.tasks.text.data.path=PATH/input.txt]
  ctxlm report experiments/length_extrapolation.py --workdir runs/length

Bytes of the embedded corpus, or of the file that is named; training length 64
(small) and 128 (large), judged up to 8 times as long. Documents are one
stream: a document's end bounds no context, else few contexts would be long.
Token embeddings begin at 1 / sqrt(m) and are scaled by sqrt(m), as in Vaswani
et al. 2017: smaller ones drown in sinusoids of amplitude 1. Windows don't
overlap, so each length has other shares of early tokens: the loss of every
window's last quarter is judged beside.
"""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np

from configs import common
from ctxlm import data as data_lib
from ctxlm import files as cache
from ctxlm.data.sources import corpus, splits
from ctxlm.errors import UserError
from ctxlm.lab.experiment import Claim, Finding, Plot, Series, product
from ctxlm.objectives import causal, losses

SCHEMES = ('alibi', 't5', 'rotary', 'sinusoidal', 'learned', 'none')
NAMES = {
  'alibi': 'ALiBi',
  't5': 'T5 bias',
  'rotary': 'rotary',
  'sinusoidal': 'sinusoidal',
  'learned': 'learned, clipped',
  'none': 'none',
}
MULTIPLES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Source:
  """A text file as it stands; without `path` the embedded corpus.

  Attributes:
    path: of the file. Its first 90 % train and the rest is the validation, so
      that long contexts are of one text.
  """

  path: str = ''

  def records(self, split):
    """Returns the records of a split.

    Raises:
      UserError: no such file, one that isn't UTF-8, or no such split.
    """
    if not self.path:
      return corpus.Source().records(split)
    splits.check(split, ('train', 'validation'), self.path)
    try:
      text = Path(self.path).read_text('utf-8')
    except (OSError, UnicodeDecodeError) as e:
      raise UserError(f'{self.path}: {e}') from e
    cut = int(0.9 * len(text))
    return [{'text': text[:cut] if split == 'train' else text[cut:]}]

  def fingerprint(self, split):
    """Returns a hash of the split."""
    if not self.path:
      return corpus.Source().fingerprint(split)
    return cache.digest(split, self.records(split)[0]['text'])


@dataclasses.dataclass(frozen=True)
class Objective(causal.Objective):
  """Next-token prediction on one stream, cut into windows."""

  def prepare(self, example, rng):
    """Returns the features of a row without padding or document bounds."""
    length = len(example['tokens'])
    stream = {
      'tokens': example['tokens'],
      'segment_ids': (example['segment_ids'] > 0).astype(np.int32),
      'positions': np.arange(length, dtype=np.int32),
    }
    return super().prepare(stream, rng)


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Perplexity on windows of several lengths.

  Attributes:
    task: '' is the first.
    split: of the data.
    multiples: of config.max_length, the lengths.
    tokens: that are judged at most, the first ones of the split.
    every_steps: the loop's cadence.
  """

  task: str = ''
  split: str = 'validation'
  multiples: tuple = MULTIPLES
  tokens: int = 65536
  every_steps: int = 0

  def run(self, context):
    """Returns perplexity_N and last_quarter_N for each multiple N."""
    task = context.task(self.task)
    short = context.config.max_length
    found = {}
    for multiple in self.multiples:
      length = multiple * short
      view = data_lib.open_view(
        context.config.tasks[task.name],
        task.objective,
        context.tokenizer,
        self.split,
        length,
      )
      # The last row may be padded.
      count = min(len(view) - 1, self.tokens // length)
      if count < 1:
        raise UserError(
          f'{self.split} of task {task.name} has no row of {length} tokens'
        )
      size = min(max(4096 // length, 1), count)
      total = np.zeros(length)
      for start in range(0, count - size + 1, size):
        rows = [view.read(start + i, None) for i in range(size)]
        rows = [task.objective.prepare(row, None) for row in rows]
        batch = {k: np.stack([r[k] for r in rows]) for k in rows[0]}
        # Learned positions end where training did.
        if context.config.model.position == 'learned':
          batch['positions'] = np.minimum(batch['positions'], short - 1)
        nats, _ = context.call(nats_by_place, batch)
        total += np.asarray(nats, np.float64)
      seen = count // size * size
      mean = total[:-1] / seen  # the last place has no target
      found[f'perplexity_{multiple}'] = math.exp(mean.mean())
      found[f'last_quarter_{multiple}'] = math.exp(mean[-length // 4 :].mean())
    return found


def nats_by_place(model, batch):
  """Returns -log p of the targets, summed over rows: [l]."""
  logits = model.logits(
    model(
      batch['tokens'],
      segment_ids=batch['segment_ids'],
      positions=batch['positions'],
    )
  )
  weights = batch['weights']

  def place(logits, targets, weights):
    return losses.cross_entropy(logits, targets, weights)[0]

  return jax.vmap(place, 1)(logits, batch['targets'], weights)


def get_config(scale='small'):
  """Returns the recipe."""
  c = common.base()
  c.num_steps = {'smoke': 4, 'small': 800, 'large': 3000}[scale]
  c.batch_size = {'smoke': 4, 'small': 32, 'large': 64}[scale]
  c.max_length = {'smoke': 8, 'small': 64, 'large': 128}[scale]
  c.tokenizer.vocab_size = 262  # bytes, and the special tokens
  width = {'smoke': 16, 'small': 96, 'large': 512}[scale]
  c.model = common.gpt2_shape(
    width,
    {'smoke': 1, 'small': 4, 'large': 6}[scale],
    {'smoke': 2, 'small': 4, 'large': 8}[scale],
    position='alibi',
    embedding_scale=True,
    init_stddev=width**-0.5,
    max_length=MULTIPLES[-1] * c.max_length,
  )
  own = {'name': 'experiments.length_extrapolation'}
  c.tasks.text = common.task({**own, 'path': ''}, own)
  c.optimizer.learning_rate = 1e-3
  c.optimizer.warmup_steps = 50 if scale != 'smoke' else 1
  c.optimizer.b2 = 0.95
  c.log_every_steps = 100 if scale != 'smoke' else 2
  c.checkpoint.every_steps = 100
  c.checkpoint.keep = 1
  c.evaluators.lengths = {
    'name': 'experiments.length_extrapolation',
    'tokens': 65536 if scale != 'smoke' else 256,
  }
  return c


def sweep(scale):
  """Yields one point a position scheme."""
  schemes = SCHEMES if scale != 'smoke' else ('alibi', 'learned')
  return product({'model.position': schemes})


def criteria():
  """Returns the claims."""
  last = MULTIPLES[-1]
  return [
    Claim(
      f'ALiBi holds its perplexity {last} times beyond the training length, '
      'rotary loses some, sinusoidal breaks',
      'Press et al. 2022, figure 1',
      'ALiBi keeps or improves; rotary breaks later than sinusoidal',
      f'perplexity at {last} L / at L: ALiBi 1.05 at most, rotary 1.3 to 5, '
      'sinusoidal 2 at least, every seed',
      _extrapolate,
    ),
    Claim(
      'at the training length ALiBi is as good as rotary, sinusoidal is no '
      'better',
      'Press et al. 2022, figure 1',
      'ALiBi on par with the others at L',
      'at L: rotary <= sinusoidal, ALiBi within 10 % of rotary, every seed',
      _in_range,
    ),
    Claim(
      'the order is the same on the last quarter of each window, whose '
      'contexts are all long',
      'a control of the first claim; not in the paper in this form',
      'ALiBi best at every length beyond L',
      f'last quarter of {last} L: ALiBi < T5 bias, rotary, sinusoidal, learned, '
      'every seed',
      _last_quarter,
    ),
  ]


def _perplexity(results, scheme, multiple, name='perplexity'):
  runs = results.where(position=scheme)
  return runs.final(f'eval/lengths/{name}_{multiple}')


def _extrapolate(results):
  ratio = {
    s: _perplexity(results, s, MULTIPLES[-1]) / _perplexity(results, s, 1)
    for s in SCHEMES
  }
  rotary = ratio['rotary']
  return Finding(
    {NAMES[s]: r for s, r in ratio.items()},
    (ratio['alibi'] <= 1.05).all()
    and ((rotary >= 1.3) & (rotary <= 5)).all()
    and (ratio['sinusoidal'] >= 2).all(),
    ((ratio['alibi'] < rotary) & (rotary < ratio['sinusoidal'])).all(),
  )


def _in_range(results):
  at = {s: _perplexity(results, s, 1) for s in SCHEMES}
  near = abs(at['alibi'] / at['rotary'] - 1)
  return Finding(
    {NAMES[s]: p for s, p in at.items()},
    (at['rotary'] <= at['sinusoidal']).all() and (near <= 0.1).all(),
    at['rotary'].mean() <= at['sinusoidal'].mean() and near.mean() <= 0.2,
  )


def _last_quarter(results):
  at = {
    s: _perplexity(results, s, MULTIPLES[-1], 'last_quarter') for s in SCHEMES
  }
  others = [s for s in SCHEMES if s not in ('alibi', 'none')]
  return Finding(
    {NAMES[s]: p for s, p in at.items()},
    all((at['alibi'] < at[s]).all() for s in others),
    all(at['alibi'].mean() < at[s].mean() for s in others),
  )


def report(results):
  """Returns perplexity over length, of windows and of their last quarters."""

  def plot(name, title):
    series = []
    for scheme in SCHEMES:
      runs = results.where(position=scheme).points
      runs = [p for p in runs if p.done]
      ys = [
        [p.curve(f'eval/lengths/{name}_{m}')[1][-1] for m in MULTIPLES]
        for p in runs
      ]
      if ys:
        series.append(Series(NAMES[scheme], MULTIPLES, ys))
    return Plot(
      name,
      title,
      'length / training length',
      'perplexity (a byte)',
      series,
      log='xy',
    )

  return [
    plot('perplexity', 'windows that do not overlap'),
    plot('last_quarter', 'last quarter of each window'),
  ]
