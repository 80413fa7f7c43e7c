"""Sorted tables of the n-grams of a text, counted in one pass.

The k-grams of an order are sorted by their words, from the first one on, so
those that go on from one (k-1)-gram lie beside each other: a trie in arrays,
in which a k-gram is found from its first k - 1 words, its context, by a binary
search for its last. Counting sorts the whole text once for each order.
"""

import dataclasses
from typing import Any

import numpy as np

UNSEEN, ABSENT = -1, -2  # n-grams that no table has; that begin before a text


@dataclasses.dataclass(frozen=True)
class Order:
  """The n different k-grams of a text; in order 1, one of each id.

  The first token of a text is its start: a context, which is not counted.

  Attributes:
    words: int32 [n], the last word.
    parent: int64 [n], the k-gram without its last word, in the order below.
    suffix: int64 [n], the k-gram without its first word, likewise.
    counts: int64 [n], occurrences.
    begins: int64 [n], texts that begin with it.
  """

  words: Any
  parent: Any
  suffix: Any
  counts: Any
  begins: Any

  def __len__(self):
    return len(self.words)


def places(begins):
  """Returns int64 [t]: each token's place in its text, from 0.

  Args:
    begins: bool [t], where a text begins; the first token does.
  """
  index = np.arange(len(begins))
  begins = np.asarray(begins, bool).copy()
  begins[:1] = True
  return index - np.maximum.accumulate(np.where(begins, index, 0))


def count(tokens, begins, order, vocab_size):
  """Returns [Order of 1, ..., Order of `order`] of texts.

  Args:
    tokens: int [t], the texts one after another.
    begins: bool [t], where each begins; no n-gram crosses that.
    order: int, words of the longest n-grams.
    vocab_size: int, ids.
  """
  tokens = np.asarray(tokens, np.int64)
  place = places(begins)
  words = np.arange(vocab_size)
  counts, starts = (
    np.bincount(tokens[which], minlength=vocab_size)
    for which in (place > 0, place == 0)
  )
  none = np.zeros(vocab_size, np.int64)
  orders = [Order(words.astype(np.int32), none, none, counts, starts)]
  ends = tokens  # the (k-1)-gram that ends at each token
  for k in range(2, order + 1):
    at = np.flatnonzero(place >= k - 1)
    keys, first, ids, counts = np.unique(
      ends[at - 1] * vocab_size + tokens[at],
      return_index=True,
      return_inverse=True,
      return_counts=True,
    )
    orders.append(
      Order(
        (keys % vocab_size).astype(np.int32),
        keys // vocab_size,
        ends[at[first]],
        counts,
        np.bincount(ids[place[at] == k - 1], minlength=len(keys)),
      )
    )
    ends = np.full(len(tokens), UNSEEN)
    ends[at] = ids
  return orders


def continuations(orders):
  """Returns [int64 [n]] of all orders: the counts that Kneser and Ney take.

  In the highest order occurrences; below it the number of different words
  that stand before the k-gram, N1+(. w), to which each text that begins with
  it adds one, as there no word can (Heafield et al. 2013, section 3.1).
  """
  lower = [
    np.bincount(above.suffix, minlength=len(own)) + (k > 1) * own.begins
    for k, (own, above) in enumerate(zip(orders, orders[1:]), 1)
  ]
  return [*lower, orders[-1].counts]


def first_children(parent, size):
  """Returns int32 [size + 1]: where those that go on from each begin, and end.

  Args:
    parent: int [n], sorted.
    size: int, of the order below.
  """
  return np.searchsorted(parent, np.arange(size + 1)).astype(np.int32)


class Lookup:
  """Probabilities of tokens from a model's tables, in numpy, text by text.

  A model compiled for a device gives whole distributions, see ngram.Model;
  this one looks for the n-grams of the text alone.
  """

  def __init__(self, model, params):
    """Prepares.

    Args:
      model: ngram.Model.
      params: its parameters.
    """
    self._model = model
    self._tables = [
      {name: np.asarray(x) for name, x in params[f'order_{k}'].items()}
      for k in range(1, model.order + 1)
    ]
    self._keys = [
      np.repeat(np.arange(len(below['first']) - 1), np.diff(below['first']))
      * model.vocab_size
      + own['words'][: below['first'][-1]]
      for below, own in zip(self._tables, self._tables[1:])
    ]

  def __call__(self, tokens, begins):
    """Returns float64 [t]: the natural logarithm of each token's probability.

    Of a text's first token it is that of a token after nothing. What the model
    doesn't normalise (stupid back-off) isn't here either.

    Args:
      tokens, begins: see `count`.
    """
    tokens = np.asarray(tokens, np.int64)
    place, uniform = places(begins), self._uniform()
    probs = self._tables[0]['probs'][tokens].astype(np.float64)
    ends = tokens
    for k in range(2, self._model.order + 1):
      below, own = self._tables[k - 2], self._tables[k - 1]
      at = np.flatnonzero(place >= k - 1)
      if not self._model.backs_off:
        probs[at] = uniform[tokens[at]]
      here = at[ends[at - 1] >= 0]
      context = ends[here - 1]
      probs[here] *= below['backoffs'][context]
      wanted = context * self._model.vocab_size + tokens[here]
      keys = self._keys[k - 2]
      found = np.searchsorted(keys, wanted)
      if len(keys):
        hit = keys[np.minimum(found, len(keys) - 1)] == wanted
      else:
        hit = np.zeros(len(wanted), bool)
      probs[here[hit]] = own['probs'][found[hit]]
      ends = np.full(len(tokens), UNSEEN)
      ends[here[hit]] = found[hit]
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny))

  def _uniform(self):
    possible = self._tables[0]['probs'] > 0
    return possible / max(possible.sum(), 1)
