"""Which tokens a masked LM predicts: tokens, whole words, or spans of words.

Whole words: google-research/bert's create_pretraining_data.py. Spans: SpanBERT
(Joshi et al. 2020), lengths geometric with p = 0.2, at most 10.
"""

import numpy as np

UNITS = ('token', 'word', 'span')


def choose(candidate, count, rng, unit='token', starts=None, segment_ids=None):
  """Returns the chosen positions, int64 [n], n <= count, in order.

  Args:
    candidate: bool [l], those that may be.
    count: how many are wanted.
    rng: numpy Generator.
    unit: one of UNITS.
    starts: bool [l], whether a token begins a word; not of tokens.
    segment_ids: int [l]; a word ends with its segment; not of tokens.
  """
  places = np.flatnonzero(candidate)
  if unit == 'token' or not len(places):
    return np.sort(rng.permutation(places)[:count])
  starts = starts | ~candidate
  starts[1:] |= (segment_ids[1:] != segment_ids[:-1]) | ~candidate[:-1]
  starts[0] = True
  words = np.split(np.arange(len(candidate)), np.flatnonzero(starts)[1:])
  words = [w for w in words if candidate[w[0]]]
  # A word longer than all that is chosen falls back to its tokens.
  words = [
    part
    for w in words
    for part in ([w] if len(w) <= count else np.split(w, len(w)))
  ]
  chosen = (_words if unit == 'word' else _spans)(words, count, rng)
  return np.sort(np.array(chosen, np.int64))


def _words(words, count, rng):
  chosen = []
  for i in rng.permutation(len(words)):
    # BERT: a word that would pass the limit is left out.
    if len(chosen) + len(words[i]) <= count:
      chosen.extend(words[i])
    if len(chosen) >= count:
      break
  return chosen


def _spans(words, count, rng):
  chosen, taken = [], set()
  for _ in range(10 * len(words)):
    if len(chosen) >= count:
      break
    length = min(rng.geometric(0.2), 10)
    first = rng.integers(len(words))
    for i in range(first, min(first + length, len(words))):
      if i in taken or len(chosen) + len(words[i]) > count:
        break
      if i > first and words[i][0] != words[i - 1][-1] + 1:
        break  # a span stays within its segment
      taken.add(i)
      chosen.extend(words[i])
  return chosen
