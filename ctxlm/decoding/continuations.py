"""How probable each of many continuations is after its context.

Rows that differ in their last token alone are one row. A beginning that many
share, such as the demonstrations before all questions, is read once: its keys
and values are kept, and the rows go on from them. SST-2's 872 sentences after 8
demonstrations (270 of 299 ids), with two answers of one id, take SmolLM2-135M
165 s on two busy CPU cores; 1529 s where no beginning is kept; and 5282 s by
`score`, where each answer is a row too, and padded more (reckoned from 24, 16
and 8 sentences of one draw, in batches of 8).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.models import decoder
from ctxlm.models.variables import make_apply
from ctxlm.parallel import rows as rows_lib

LEAST = 16  # tokens of a beginning that is worth being kept
TOGETHER = 256  # positions whose logits are in memory at once


class Continuations:
  """A causal model that is asked for continuations, on all devices."""

  def __init__(self, model, placement, batch_size=32, max_length=None):
    """Prepares; what is compiled is kept.

    Args:
      model: a causal Flax module.
      placement: parallel.Pmap or Mesh.
      batch_size: rows, made a multiple of the devices.
      max_length: tokens that the model is shown; None is any number.
    """
    self._model, self._apply = model, make_apply(model)
    self.max_length = max_length
    self._least_rows = batch_size
    self._plain = rows_lib.Rows(placement, self._read, batch_size, self._length)
    self._after = rows_lib.Rows(
      placement, self._go_on, batch_size, self._length, whole=1
    )
    self._begin = jax.jit(self._keep, static_argnames='ahead')

  def __call__(self, params, pairs):
    """Returns [(log p of each id float32 [t], whether it is the likeliest)].

    Args:
      params: the model's, placed.
      pairs: (context, continuation), lists of ids, of one at least. What is
        longer than the model sees loses its beginning.
    """
    if not pairs:
      return []
    cut = [self._cut(*pair) for pair in pairs]
    rows = {tokens: ([], []) for tokens in sorted({t for t, _ in cut})}
    where = []
    for tokens, targets in cut:
      places, own = rows[tokens]
      where.append((tokens, slice(len(own), len(own) + len(targets))))
      places += range(len(tokens) - len(targets), len(tokens))
      own += targets
    out = {}
    beginnings, firsts = list(rows), [min(p) for p, _ in rows.values()]
    for first, last, size in self._groups(beginnings, firsts):
      group = beginnings[first:last]
      asked = [
        {
          'tokens': tokens[size:],
          'places': [p - size for p in rows[tokens][0]],
          'targets': rows[tokens][1],
        }
        for tokens in group
      ]
      answers = self._after_beginning(params, group[0][:size], asked)
      out |= zip(group, answers, strict=True)
    return [(out[t]['logps'][s], out[t]['best'][s]) for t, s in where]

  def _cut(self, context, continuation):
    ids = [*context, *continuation]
    if self.max_length is not None:
      ids = ids[-(self.max_length + 1) :]
    # The last one is predicted, and not read.
    return tuple(ids[:-1]), list(continuation[-(len(ids) - 1) :])

  def _groups(self, rows, firsts):
    if not self._model.rewinds:
      return [(0, len(rows), 0)]
    return shared(rows, firsts, self._least_rows)

  def _length(self, n):
    most = self._model.context_length
    # There may be more targets than tokens.
    return rough(n) if most is None or n > most else min(rough(n), most)

  def _after_beginning(self, params, beginning, asked):
    if not beginning:
      return self._plain(params, asked)
    ahead = self._length(max(len(row['tokens']) for row in asked))
    start = self._length(len(beginning)) - len(beginning)
    tokens = np.array([(0,) * start + beginning], np.int32)
    cache = self._begin(params, tokens, start, ahead=ahead)
    return self._after(params, asked, whole=(cache,))

  def _keep(self, params, tokens, start, ahead):
    prompts = decoder.Prompts(
      tokens,
      jnp.full(1, start, jnp.int32),
      ahead=ahead,
      chunk=ahead,
      keep_hidden=True,
    )
    return self._model.begin(params, prompts)[1]

  def _go_on(self, params, batch, cache):
    cache = decoder.repeat(cache, len(batch['tokens']))
    _, cache = self._model.advance(params, batch['tokens'], cache)
    return self._judge(params, cache.hidden, batch)

  def _read(self, params, batch):
    hidden = self._apply(
      params,
      lambda m: m(batch['tokens'], segment_ids=batch['segment_ids']),
    )
    return self._judge(params, hidden, batch)

  def _judge(self, params, hidden, batch):
    # Logits of a large vocabulary are of what is asked alone, and few at once.
    places = batch['places'][..., None]
    hidden = jnp.take_along_axis(hidden, places, axis=1)

    def one(row):
      hidden, targets = row
      logits = self._apply(params, lambda m: m.logits(hidden))
      own = jnp.take_along_axis(logits, targets[:, None], -1)[:, 0]
      logps = own - jax.nn.logsumexp(logits, -1)
      return {'logps': logps, 'best': logits.argmax(-1) == targets}

    size = max(1, TOGETHER // places.shape[1])
    given = hidden, batch['targets']
    return jax.lax.map(one, given, batch_size=size)


def rough(n):
  """Returns a length that n is padded to: few are compiled for.

  >>> [rough(n) for n in (1, 3, 9, 17, 25, 33, 49)]
  [1, 4, 16, 24, 32, 48, 64]
  """
  power = 1 << (n - 1).bit_length()
  return power * 3 // 4 if 16 < n <= power * 3 // 4 else power


def shared(rows, firsts, least):
  """Returns which rows go on from a beginning that is read once.

  Args:
    rows: tuples of ids, sorted, no two of them equal.
    firsts: how many of each row's ids may be of a beginning.
    least: rows that a group has at least.

  Returns:
    [(first, last, size)]: rows first to last - 1 share their `size` first ids,
    0 where they go alone. Of the groupings that are looked at, in which
    neighbours share 16, 32, 64 ... ids, it is that with the fewest ids to read.

  >>> rows = [(1, 2, 3), (1, 2, 4), (1, 2, 5), (7, 8)]
  >>> shared(rows, [2, 2, 2, 1], 3)
  [(0, 4, 0)]
  >>> long = [(0,) * 20 + row for row in rows]
  >>> shared(long, [22, 22, 22, 21], 3)
  [(0, 4, 20)]
  """
  alike = [_alike(a, b) for a, b in itertools.pairwise(rows)]
  best, fewest, level = [(0, len(rows), 0)], 0, LEAST
  while level <= max(alike, default=0):
    cuts = [i for i, n in enumerate(alike, 1) if n < level]
    groups, saved = [], 0
    for first, last in itertools.pairwise([0, *cuts, len(rows)]):
      size = 0
      if last - first >= max(least, 2):
        size = min(*alike[first : last - 1], *firsts[first:last])
        size = size if size >= LEAST else 0
      saved += size * (last - first - 1)
      if groups and not size and not groups[-1][2]:
        first = groups.pop()[0]
      groups.append((first, last, size))
    if saved > fewest:
      best, fewest = groups, saved
    level *= 2
  return best


def _alike(a, b):
  # How many ids two rows begin with in common.
  pairs = enumerate(zip(a, b))
  return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
