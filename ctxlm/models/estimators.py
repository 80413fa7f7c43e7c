"""How counts of n-grams become probabilities and weights of back-off.

Every estimator here is of one form, that of ARPA's files: p(w | h) is what is
stored for hw, or else the weight of h times p(w | h'), h' being h without its
first word. An interpolated p holds the lower order's share already (Chen &
Goodman 1998, section 2.8: p(w | h) = share(w | h) + left(h) p(w | h')).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ctxlm.models import counts as counts_lib

FALLBACK = (0.5, 1.0, 1.5)  # lmplz's, where counts of counts give no discounts


@dataclasses.dataclass(frozen=True)
class Estimator:
  """One of ESTIMATORS.

  Attributes:
    shares: (options, counts [n], parent [n], contexts, possible) -> (share
      [n], left [contexts]): what each has of its context, and what the context
      leaves; `possible` is the number of words that can be.
    continuations: whether lower orders go by counts.continuations.
    interpolated: whether what is left is spread over all words, and not over
      those alone that never came after the context.
    backs_off: whether it is spread as the lower order has it; else evenly, so
      that the longest context alone counts.
  """

  shares: Callable
  continuations: bool = False
  interpolated: bool = True
  backs_off: bool = True


def modified_discounts(counts):
  """Returns the discounts of counts 1, 2, and 3 or more.

  Chen & Goodman 1998, equation 26: D_i = i - (i + 1) Y n_(i+1) / n_i, with
  Y = n_1 / (n_1 + 2 n_2) and n_i the number of n-grams of count i. Where that
  is no discount, as of characters, all of which are common, FALLBACK.

  >>> modified_discounts(np.array([1] * 8 + [2] * 4 + [3] * 2 + [4]))
  (0.5, 1.25, 2.0)
  """
  n = np.bincount(np.minimum(counts, 5), minlength=6)
  if not n[1:5].all():
    return FALLBACK
  y = n[1] / (n[1] + 2 * n[2])
  found = tuple(float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
  return found if all(0 <= d <= i for i, d in enumerate(found, 1)) else FALLBACK


def plain_discount(counts):
  """Returns n_1 / (n_1 + 2 n_2), Ney et al. 1994, or 0.75 where it isn't.

  >>> plain_discount(np.array([1, 1, 2, 5]))
  0.5
  """
  once, twice = (counts == 1).sum(), (counts == 2).sum()
  return float(once / (once + 2 * twice)) if once and twice else 0.75


def _discounted(counts, off, parent, contexts):
  total = np.bincount(parent, counts, contexts)
  total = np.where(total > 0, total, 1.0)
  taken = np.bincount(parent, off, contexts)
  return (counts - off) / total[parent], taken / total


def _modified_kneser_ney(options, counts, parent, contexts, possible):
  del options, possible
  table = np.array([0.0, *modified_discounts(counts)])
  off = table[np.minimum(counts, 3)]
  return _discounted(counts, off, parent, contexts)


def _kneser_ney(options, counts, parent, contexts, possible):
  del possible
  off = np.minimum(options.discount or plain_discount(counts), counts)
  return _discounted(counts, off, parent, contexts)


def _witten_bell(options, counts, parent, contexts, possible):
  # Witten & Bell 1991, method C: as many more tokens as there are types.
  del options, possible
  types = np.bincount(parent, counts > 0, contexts)
  whole = np.maximum(np.bincount(parent, counts, contexts) + types, 1)
  return counts / whole[parent], types / whole


def _add_k(options, counts, parent, contexts, possible):
  added = options.k * possible
  whole = np.bincount(parent, counts, contexts) + added
  return counts / whole[parent], added / whole


def _stupid_backoff(options, counts, parent, contexts, possible):
  # Brants et al. 2007, equation 5; scores that don't sum to 1.
  del possible
  total = np.maximum(np.bincount(parent, counts, contexts), 1)
  return counts / total[parent], np.full(contexts, options.backoff)


ESTIMATORS = {
  'modified_kneser_ney': Estimator(_modified_kneser_ney, True),
  'kneser_ney': Estimator(_kneser_ney, True),
  'witten_bell': Estimator(_witten_bell),
  'add_k': Estimator(_add_k, backs_off=False),
  'stupid_backoff': Estimator(_stupid_backoff, interpolated=False),
}


def estimate(orders, options):
  """Returns the parameters of ngram.Model.

  Args:
    orders: of counts.count.
    options: ngram.Model, for its estimator and what that reads.

  Returns:
    {'order_K': {'words' (from order 2 on), 'probs', and below the highest
    order 'backoffs' and 'first'}}; see ngram.Model.
  """
  kind = ESTIMATORS[options.estimator]
  used = [own.counts for own in orders]
  if kind.continuations:
    used = counts_lib.continuations(orders)
  uniform = _uniform(orders, options.open_vocab)
  possible = np.count_nonzero(uniform)
  params, lower = {}, uniform
  for k, (own, counts) in enumerate(zip(orders, used), 1):
    contexts = len(orders[k - 2]) if k > 1 else 1
    probs, left = kind.shares(options, counts, own.parent, contexts, possible)
    # A context that nothing was seen after leaves all.
    seen = np.bincount(own.parent, counts > 0, contexts) > 0
    left = np.where(seen, left, 1.0)
    even = k == 1 or not kind.backs_off
    below = uniform[own.words] if even else lower[own.suffix]
    if k == 1 and kind.backs_off and not options.open_vocab:
      probs = counts / max(counts.sum(), 1)  # none is left for the unseen
    elif kind.interpolated:
      probs = probs + left[own.parent] * below
    elif k == 1:
      probs = np.where(counts > 0, probs, left[0] * below)
    if k > 1:
      table = params[f'order_{k - 1}']
      table['backoffs'] = left.astype(np.float32)
      table['first'] = counts_lib.first_children(own.parent, contexts)
    params[f'order_{k}'] = {'probs': probs.astype(np.float32)}
    if k > 1:
      params[f'order_{k}']['words'] = own.words
    lower = probs
  return filled(params)


def filled(params):
  """Returns tables of one entry at least, as arrays of none can't be saved."""
  for name, table in params.items():
    if not len(table['probs']):
      table['probs'], table['words'] = np.zeros(1, 'f4'), np.zeros(1, 'i4')
      if 'first' in table:
        table['backoffs'] = np.ones(1, np.float32)
        table['first'] = np.zeros(2, np.int32)
    params[name] = table
  return params


def _uniform(orders, open_vocab):
  # Even probabilities of the words that can be: all ids, or those that were
  # seen, but for one that texts begin with and never hold.
  seen = orders[0].counts > 0
  possible = seen | (orders[0].begins == 0) if open_vocab else seen
  return possible / max(possible.sum(), 1)
