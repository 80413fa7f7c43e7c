"""Rows of text, and for each the passages that its own past finds.

What a row reads on from is the query: the last tokens of its document up to the
row's first one. So what is found is decided by what every token of the row may
see. And a passage of the same text ends before the query begins, wherever the
row's text goes on. Another text may be the same one in other units: there,
documents equal to the row's are left out, and passages that share RUN tokens in
a row with what comes after the query.

Passages overlap by half. One is found by its first half, as in RETRO (Borgeaud
et al. 2022, arXiv:2112.04426, section 2.3): the other is how it went on.
"""

import functools

import numpy as np

from ctxlm import files
from ctxlm.data.sources import records as records_lib
from ctxlm.data.views import windows
from ctxlm.errors import UserError, note

VERSION = 3  # raise it whenever others are found
QUERIES = 64  # at a time
RUN = 8  # tokens in a row that are hardly said twice by chance


class Corpus:
  """A text cut into passages, and the index that finds them.

  Attributes:
    tokens: int32 [t], documents one after another.
    starts, ends: int64 [n], of each passage there, in rising order.
    documents: int64 [n], the number of each passage's document.
    firsts: int64 [d + 1], where documents begin, and the last one ends.
  """

  def __init__(self, tokens, begins, length, retriever, tokenizer):
    """Cuts it.

    Args:
      tokens, begins: of windows.View.stream.
      length: tokens of a passage at most.
      retriever: see ctxlm.context.retrievers.
      tokenizer: whose ids they are.
    """
    self.tokens = tokens
    self.firsts = np.append(np.flatnonzero(begins), len(tokens))
    stride, starts, ends = max(length // 2, 1), [], []
    for first, end in zip(self.firsts, self.firsts[1:]):
      # What begins within the last half of another passage is a part of it.
      own = np.arange(first, max(end - stride, first + 1), stride)
      starts.append(own)
      ends.append(np.minimum(own + length, end))
    self.starts, self.ends = np.concatenate(starts), np.concatenate(ends)
    self.documents = np.searchsorted(self.firsts, self.starts, 'right') - 1
    self._stride, self._made = stride, (retriever, tokenizer)

  @functools.cached_property
  def _index(self):
    retriever, tokenizer = self._made
    keys = [
      self.tokens[a : min(a + self._stride, b)]
      for a, b in zip(self.starts, self.ends)
    ]
    return retriever.index(keys, tokenizer)

  def find(self, queries, count, allowed):
    """Returns int64 [q, count, 2]: passages' starts and ends, the best first.

    No two of a query overlap; where there are fewer, both are 0.

    Args:
      queries: list of int [n], of one token or more.
      count: passages of each.
      allowed: (number of a query) -> bool [n], what it may find; or None.
    """
    found = np.zeros((len(queries), count, 2), np.int64)
    for at in range(0, len(queries), QUERIES):
      scores = self._index.scores(queries[at : at + QUERIES])
      for i, own in enumerate(scores, at):
        if allowed is not None:
          own = np.where(allowed(i), own, 0)
        found[i] = self._best(own, count)
    return found

  def _best(self, scores, count):
    # Each overlaps one before it and one behind.
    size = min(3 * count, len(scores))
    near = np.argpartition(-scores, size - 1)[:size]
    near = near[np.lexsort((near, -scores[near]))]
    chosen = []
    for i in near[scores[near] > 0]:
      a, b = self.starts[i], self.ends[i]
      if len(chosen) < count and all(b <= c or d <= a for c, d in chosen):
        chosen.append((a, b))
    return np.array(chosen + [(0, 0)] * (count - len(chosen)))


def cut(tokens, found, length, pad_id):
  """Returns (passages, ids) int32 [p, l]; ids are 1 where there is a token.

  Args:
    tokens: int [t], of a Corpus.
    found: int [p, 2], see Corpus.find.
    length: l.
    pad_id: what stands behind a passage.
  """
  passages = np.full((len(found), length), pad_id, np.int32)
  ids = np.zeros((len(found), length), np.int32)
  for i, (a, b) in enumerate(found):
    passages[i, : b - a], ids[i, : b - a] = tokens[a:b], 1
  return passages, ids


class View(records_lib.Lazy):
  """Documents packed into rows, see data.views.windows, with their passages.

  Attributes: those of windows.View that evaluators read, and `fingerprint`.
  """

  _opened = ('_found', '_tokens')

  def __init__(self, rows, stream, folder, key, length, pad_id):
    self._windows, self._stream, self._folder = rows, stream, folder
    self._length, self._pad_id, self.fingerprint = length, pad_id, key
    self.num_bytes, self.num_tokens = rows.num_bytes, rows.num_tokens

  @classmethod
  def open(cls, base, fingerprint, tokenizer, max_length, objective):
    """See ctxlm.data.views.View; the objective is objectives.retrieved's.

    Raises:
      UserError: no text, in the rows or the corpus.
    """
    given = tokenizer, max_length, objective
    rows = windows.View.open(base, fingerprint, *given)
    source, other = rows, fingerprint
    if objective.corpus is not None:
      other = objective.corpus.fingerprint('train')
      try:
        source = windows.View.open(
          objective.corpus.records('train'), other, *given
        )
      except UserError as e:
        raise UserError(f'the corpus of passages: {e}') from e
    same = other == fingerprint
    count, length = objective.passages, objective.passage_length
    key = files.digest(
      'passages', VERSION, rows.fingerprint, source.fingerprint, count, length,
      objective.query, *objective.finder.key,
    )  # fmt: skip

    stream = _streamed(source)

    def build(folder):
      corpus = Corpus(*_load(stream), length, objective.finder, tokenizer)
      found = _find(rows, corpus, same, count, objective.query)
      np.save(folder / 'found.npy', found)

    folder = files.folder('passages', key, build)
    view = cls(rows, stream, folder, key, length, tokenizer.pad_id)
    if not view._found.any():
      note(
        f'no row of {len(rows):,} has a passage: their documents have no text '
        'before it, or nothing is near'
      )
    return view

  def __len__(self):
    return len(self._windows)

  @functools.cached_property
  def _found(self):
    return np.load(self._folder / 'found.npy', mmap_mode='r')

  @functools.cached_property
  def _tokens(self):
    return _load(self._stream)[0]

  def read(self, i, rng):
    """Returns a row, with 'passages' and 'passage_ids' int32 [p, l]."""
    tokens, ids = cut(self._tokens, self._found[i], self._length, self._pad_id)
    row = self._windows.read(i, rng)
    return row | {'passages': tokens, 'passage_ids': ids}


def _find(rows, corpus, same, count, length):
  # Passages of each row: int64 [n, count, 2].
  tokens, begins = rows.stream()
  firsts = np.append(np.flatnonzero(begins), len(tokens))
  places, goes_on = rows.places()
  at = np.flatnonzero(goes_on)
  own = np.searchsorted(firsts, places[at], 'right') - 1  # documents
  start = np.maximum(firsts[own], places[at] + 1 - length)
  queries = [tokens[a : b + 1] for a, b in zip(start, places[at])]
  if same:
    # As passages rise, those that end before a place are the first ones.
    before = np.searchsorted(corpus.ends, start, 'right')

    def allowed(i):
      return np.arange(len(corpus.ends)) < before[i]
  else:
    hashes = [*_hashes(tokens, firsts), *_hashes(corpus.tokens, corpus.firsts)]
    _, number = np.unique(hashes, return_inverse=True)
    mine = number[own]
    theirs = number[len(firsts) - 1 :][corpus.documents]

    latest = _latest(tokens, firsts, corpus)

    def allowed(i):
      return (theirs != mine[i]) & (latest(own[i]) <= places[at[i]])

  found = np.zeros((len(rows), count, 2), np.int64)
  found[at] = corpus.find(queries, count, allowed)
  return found


def _latest(tokens, firsts, corpus):
  """Returns a function of a document's number.

  Of each passage of the corpus, int64 [n], it gives the last place in `tokens`
  where RUN tokens of the document begin that stand there too, or reach into it;
  -1 where there are none. Places are of one document after another, so the last
  one is kept.
  """
  mine, at = _runs(tokens, firsts)
  theirs, places = _runs(corpus.tokens, corpus.firsts)
  order = np.argsort(theirs, kind='stable')
  theirs, places = theirs[order], places[order]

  @functools.lru_cache(maxsize=1)
  def of(document):
    a, b = np.searchsorted(at, firsts[document : document + 2])
    # Of a run that the document says twice, the last one.
    run, first = np.unique(mine[a:b][::-1], return_index=True)
    begins = at[a:b][::-1][first]
    low, high = (np.searchsorted(theirs, run, side) for side in SIDES)
    count = high - low
    begins = np.repeat(begins, count)
    ahead = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    there = places[np.repeat(low, count) + ahead]
    passage = np.searchsorted(corpus.ends, there, 'right')
    end = np.searchsorted(corpus.starts, there + RUN, 'left')
    found = np.full(len(corpus.starts), -1, np.int64)
    while len(passage):
      np.maximum.at(found, passage, begins)
      more = passage + 1 < end
      passage, end, begins = passage[more] + 1, end[more], begins[more]
    return found

  return of


SIDES = 'left', 'right'


def _runs(tokens, firsts):
  # All RUN tokens of a document: a hash of each, and where it begins.
  count = max(len(tokens) - RUN + 1, 0)
  hashes = np.zeros(count, np.uint64)
  for k in range(RUN):
    hashes *= np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    hashes += np.asarray(tokens[k : k + count]).astype(np.uint64) + np.uint64(1)
  places = np.arange(count)
  whole = places + RUN <= firsts[np.searchsorted(firsts, places, 'right')]
  return hashes[whole], places[whole]


def _hashes(tokens, firsts):
  return [
    files.digest(np.ascontiguousarray(tokens[a:b]).tobytes())
    for a, b in zip(firsts, firsts[1:])
  ]


def _streamed(view):
  # The folder of a windows.View's stream, which is mapped into memory.
  def build(folder):
    tokens, begins = view.stream()
    np.save(folder / 'tokens.npy', tokens)
    np.save(folder / 'begins.npy', begins)

  key = files.digest('stream', VERSION, view.fingerprint)
  return files.folder('streams', key, build)


def _load(folder):
  return [
    np.load(folder / f'{name}.npy', mmap_mode='r')
    for name in ('tokens', 'begins')
  ]


def open_corpus(objective, source):
  """Returns the Corpus in which passages for new texts are found.

  Args:
    objective: objectives.retrieved.Objective.
    source: of its task, whose training text it is if no corpus is named.
  """
  source = objective.corpus or source
  o = objective
  view = windows.View.open(
    source.records('train'),
    source.fingerprint('train'),
    *(o.tokenizer, o.max_length, o),
  )
  stream = _load(_streamed(view))
  return Corpus(*stream, o.passage_length, o.finder, o.tokenizer)
