"""One stream of text, and perplexity on windows of several lengths.

Plug-ins of experiments/length_extrapolation.py: source, objective, evaluator.
"""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
from scipy import special

from ctxlm import data as data_lib
from ctxlm import files as cache
from ctxlm.data.sources import corpus, splits
from ctxlm.errors import UserError
from ctxlm.objectives import causal, losses

MULTIPLES = (1, 2, 4, 8)  # of the training length


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
  """

  task: str = ''
  split: str = 'validation'
  multiples: tuple = MULTIPLES
  tokens: int = 65536

  def run(self, bench):
    """Returns perplexity_N and sliding_N for each multiple N.

    By windows side by side, and by windows that slide by a quarter of theirs
    over the last quarter of each longest one: all judge the same tokens there.
    And 'frequencies', the perplexity of tokens by how often they are there.
    """
    task, short = bench.task(self.task), bench.config.max_length
    metrics = {}
    for multiple in self.multiples:
      nats, count, targets = 0.0, 0, []
      for batch in self._batches(bench, task, multiple * short):
        said, weights = self._nats(bench, batch)
        nats, count = nats + said.sum(), count + weights.sum()
        targets.append(batch['targets'][:, :-1])
      metrics[f'perplexity_{multiple}'] = math.exp(nats / count)
      share = np.bincount(np.ravel(targets)) / np.size(targets)
      metrics['frequencies'] = math.exp(special.entr(share).sum())
    sums = {multiple: np.zeros(2) for multiple in self.multiples}
    longest = max(self.multiples) * short
    for batch in self._batches(bench, task, longest):
      for multiple, total in sums.items():
        size = multiple * short
        for end in range(longest, 3 * longest // 4, -(size // 4)):
          own = {k: v[:, end - size : end] for k, v in batch.items()}
          own['positions'] = batch['positions'][:, :size]
          told = self._nats(bench, own)
          total += [x[-(size // 4) :].sum() for x in told]
    for multiple, (nats, count) in sums.items():
      metrics[f'sliding_{multiple}'] = math.exp(nats / count)
    return metrics

  def _batches(self, bench, task, length):
    # Yields features of windows of a length, side by side.
    view = data_lib.open_view(
      bench.config.tasks[task.name],
      task.objective,
      bench.tokenizer,
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
    for start in range(0, count - size + 1, size):
      rows = [view.read(start + i, None) for i in range(size)]
      rows = [task.objective.prepare(row, None) for row in rows]
      yield {k: np.stack([r[k] for r in rows]) for k in rows[0]}

  def _nats(self, bench, batch):
    # (nats [l], how many tokens they are of [l]).
    if bench.config.model.position == 'learned':
      # Learned positions end where training did.
      most = bench.config.max_length - 1
      batch = batch | {'positions': np.minimum(batch['positions'], most)}
    nats, _ = bench.call(nats_by_place, batch)
    return np.asarray(nats, np.float64), batch['weights'].sum(0)


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
