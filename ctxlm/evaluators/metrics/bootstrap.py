"""Intervals by resampling examples (Efron 1979; of texts, Koehn 2004).

What can't bear that an example is there twice, such as the share of distinct
words, has intervals of halves drawn without replacement: the spread of a half
around the whole is that of the whole around the truth (McCarthy 1969).
"""

import collections

import numpy as np

SAMPLES = 1000
SEED = 12345  # sacrebleu's, so that its intervals are the same
ENTRIES = 2**22  # of the weights that are in memory at once


def figures(score, count, halves=False):
  """Returns {name: value, name_low: ..., name_high: ...}: 95 % intervals.

  The same count gives the same resamples, so models are compared on them.

  Args:
    score: see metrics.Metric.
    count: examples.
    halves: see above.
  """
  whole = {k: float(v[0]) for k, v in score(np.ones((1, count))).items()}
  drawn = collections.defaultdict(list)
  for weights in (_halves if halves and count > 1 else _resamples)(count):
    for name, values in score(weights).items():
      drawn[name].append(values)
  out = {}
  for name, value in whole.items():
    values = np.sort(np.concatenate(drawn[name]))
    values = values[~np.isnan(values)]  # of a kind that a resample lacks
    if not len(values):
      values = np.array([np.nan])
    elif halves and count > 1:
      values += value - values.mean()
    cut = len(values) // 40
    ends = float(values[cut]), float(values[-1 - cut])
    out |= {name: value, f'{name}_low': ends[0], f'{name}_high': ends[1]}
  return out


def _resamples(count):
  # Yields weights [b, count], SAMPLES rows together.
  for rng, rows in _parts(count):
    chosen = rng.choice(count, size=(rows, count), replace=True)
    chosen += np.arange(rows)[:, None] * count
    weights = np.bincount(chosen.reshape(-1), minlength=rows * count)
    yield weights.reshape(rows, count).astype(np.float64)


def _halves(count):
  for rng, rows in _parts(count):
    half = np.broadcast_to(np.arange(count) < count // 2, (rows, count))
    yield rng.permuted(half, axis=1).astype(np.float64)


def _parts(count):
  rng, most = np.random.default_rng(SEED), max(1, ENTRIES // count)
  for start in range(0, SAMPLES, most):
    yield rng, min(most, SAMPLES - start)
