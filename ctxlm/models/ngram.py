"""n-gram models: counted in one pass over the text, and not trained.

p(w | h) looks at the last n - 1 tokens alone. Texts are those of the causal
objective: each begins with what begins a document (data/framing.py), which is
a context and is never predicted, and its end is predicted like any word; no
n-gram crosses from one text to the next, so that a text's first tokens have
shorter contexts. A text that is cut into several rows is counted whole, but
judged row by row, as every model is: let config.max_length be long. What the
tokenizer doesn't know is its unknown token, a word like any other.

A hidden state is where the context stands in the tables, and logits are the
logarithms of probabilities: so the evaluators, `score` and every strategy that
needs no more than the next token's distribution take this model as they take
others. Each distribution is made whole, on any device: the vector of single
words, times the weight of each longer context that was seen, with the words
that came after it put in.
"""

from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ctxlm.errors import UserError
from ctxlm.models import counts, estimators, states
from ctxlm.models.counts import ABSENT, UNSEEN
from ctxlm.ranges import AboveZero, BelowOne, Range, Whole

CHUNK = 8192  # words that are put into distributions at a time
TINY = np.finfo(np.float32).tiny  # stands for a probability of 0


class Model(states.Decoder, nn.Module):
  """An n-gram model; its parameters are tables, see `count`.

  Attributes:
    vocab_size: ids; the loop sets it to the tokenizer's where it is 0.
    order: n, words of an n-gram.
    estimator: 'modified_kneser_ney' (interpolated; three discounts an order,
      Chen & Goodman 1998), 'kneser_ney' (one), 'witten_bell', 'add_k', or
      'stupid_backoff' (Brants et al. 2007), whose scores the softmax of the
      logits makes sum to 1. 'given' counts nothing: tables of an ARPA file.
    open_vocab: whether ids that the text doesn't have share what is left of
      single words, so that nothing is impossible; else they have no
      probability.
    discount: of 'kneser_ney' in every order; 0 is n_1 / (n_1 + 2 n_2) of each.
    k: what 'add_k' adds; backoff: what 'stupid_backoff' goes down by.
  """

  vocab_size: Whole = 0
  order: Annotated[int, Range('[1, 16]')] = 5
  estimator: Literal[*estimators.ESTIMATORS, 'given'] = 'modified_kneser_ney'
  open_vocab: bool = True
  discount: BelowOne = 0.0
  k: AboveZero = 1.0
  backoff: Annotated[float, Range('(0, 1]')] = 0.4

  causal = True
  encoder_decoder = False
  context_length = None
  max_length = None
  carries = False

  @property
  def backs_off(self):
    """Whether what a context leaves goes to a shorter one."""
    return self.estimator != 'add_k'

  def count(self, tokens, begins):
    """Returns the parameters, numpy arrays: of each order k a table.

    'order_K' has 'words' int32 [n], the last words of its n-grams, which are
    sorted by their words from the first on (order 1 has every id in its
    place); 'probs' float32 [n]; and below the highest order 'backoffs' float32
    [n], the weight of the n-gram as a context, and 'first' int32 [n + 1], where
    those that go on from it begin and end in the next table.

    Args:
      tokens: int [t], texts one after another.
      begins: bool [t], where each begins.
    """
    if self.estimator == 'given':
      raise UserError("estimator='given' is of what was counted elsewhere")
    orders = counts.count(tokens, begins, self.order, self.vocab_size)
    return estimators.estimate(orders, self)

  def wanted(self, have):
    """See models.Counts."""
    shapes = {}
    for k in range(1, self.order + 1):
      path = f'order_{k}/'
      (size,) = have.get(f'{path}probs', ())[:1] or (1,)
      size = self.vocab_size if k == 1 else size
      shapes[f'{path}probs'] = jax.ShapeDtypeStruct((size,), 'f4')
      if k > 1:
        shapes[f'{path}words'] = jax.ShapeDtypeStruct((size,), 'i4')
      if k < self.order:
        shapes[f'{path}backoffs'] = jax.ShapeDtypeStruct((size,), 'f4')
        shapes[f'{path}first'] = jax.ShapeDtypeStruct((size + 1,), 'i4')
    return shapes

  def check(self, params, folder):
    """Raises UserError if a folder's parameters are no tables of this model."""
    below = None
    for k in range(1, self.order + 1):
      table = {
        n: np.asarray(x) for n, x in params.get(f'order_{k}', {}).items()
      }
      where = f'{folder}: the table of {k}-grams'
      names = {'probs', *(['words'] if k > 1 else [])}
      names |= {'backoffs', 'first'} if k < self.order else set()
      if set(table) != names:
        raise UserError(f'{where} is not of this model')
      size = self.vocab_size if k == 1 else len(table['probs'])
      lengths = {n: len(x) - (n == 'first') for n, x in table.items()}
      if set(lengths.values()) != {size}:
        raise UserError(f'{where} has parts of different lengths')
      odd = [n for n in ('probs', 'backoffs') if n in table]
      if (
        any((table[n] < 0).any() for n in odd) or (table['probs'] > 1.001).any()
      ):
        raise UserError(f'{where} holds what is no probability')
      if below is not None:
        ends = below['first']
        if ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > size:
          raise UserError(f'{where} is not sorted')
        words = table['words'][: ends[-1]]
        inside = np.ones(len(words), bool)
        inside[ends[:-1][ends[:-1] < len(words)]] = False
        rises = np.diff(words, prepend=-1) > 0
        if (inside & ~rises).any() or not np.all(
          (words >= 0) & (words < self.vocab_size)
        ):
          raise UserError(f'{where} is not sorted')
      below = table if k < self.order else None

  def __call__(
    self,
    tokens,
    *,
    segment_ids=None,
    positions=None,
    type_ids=None,
    rows=None,
    places=None,
  ):
    """Returns int32 [b, l, max(n - 1, 1)]: the k-grams that end at each token.

    Of each k the place in its table; counts.UNSEEN is in none, and
    counts.ABSENT would begin before the text. See models.Carries; what it keeps
    is those of the last token.
    """
    del positions, type_ids, rows
    width = max(self.order - 1, 1)
    begins = states.begins(tokens, segment_ids)
    before = jnp.full((len(tokens), width), ABSENT, jnp.int32)
    if places is not None and self.has_variable('cache', 'ends'):
      before = self.get_variable('cache', 'ends')
    ends = [tokens.astype(jnp.int32)]
    for k in range(2, self.order):
      context = jnp.concatenate([before[:, k - 2, None], ends[-1][:, :-1]], 1)
      context = jnp.where(begins, ABSENT, context)
      ends.append(self._find(k, context, tokens))
    ends = jnp.stack(ends, axis=-1)
    if places is not None:
      self.put_variable('cache', 'ends', ends[:, -1])
    return ends

  def logits(self, hidden):
    """Returns log p of the next token, float32 [..., v], of hidden [..., m]."""
    ends = hidden.reshape(-1, hidden.shape[-1])
    single = self._table(1)['probs']
    probs = jnp.broadcast_to(single, (len(ends), self.vocab_size))
    possible = single > 0
    uniform = possible / jnp.maximum(possible.sum(), 1)
    for k in range(2, self.order + 1):
      context = ends[:, k - 2]
      if not self.backs_off:
        probs = jnp.where((context != ABSENT)[:, None], uniform, probs)
      weight = self._table(k - 1)['backoffs'][jnp.maximum(context, 0)]
      probs *= jnp.where(context >= 0, weight, 1.0)[:, None]
      probs = self._put_in(k, probs, context)
    logits = jnp.log(jnp.maximum(probs, TINY))
    return logits.reshape(*hidden.shape[:-1], -1)

  def to_write(self, params):
    """See decoding.Model."""
    return self, params

  def _table(self, k):
    return self.get_variable('params', f'order_{k}')

  def _children(self, k, context):
    # Where the k-grams of a context begin in their table, and end.
    first = self._table(k - 1)['first']
    place = jnp.maximum(context, 0)
    start, stop = first[place], first[place + 1]
    return start, jnp.where(context >= 0, stop, start)

  def _find(self, k, context, words):
    # The places of the k-grams of contexts and words, by binary search.
    table = self._table(k)['words']
    low, stop = self._children(k, context)

    def halve(_, bounds):
      low, high = bounds
      middle = (low + high) // 2
      right = (table[middle] < words) & (low < high)
      return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

    steps = len(table).bit_length()
    low, _ = jax.lax.fori_loop(0, steps, halve, (low, stop))
    found = (low < stop) & (table[jnp.minimum(low, len(table) - 1)] == words)
    return jnp.where(found, low, jnp.where(context == ABSENT, ABSENT, UNSEEN))

  def _put_in(self, k, probs, context):
    # The k-grams of each row's context, laid end to end and taken by chunks:
    # as much work as there are, whatever each row has.
    table = self._table(k)
    start, stop = self._children(k, context)
    ends = jnp.cumsum(stop - start)
    begins = ends - (stop - start)

    def chunk(carry):
      at, probs = carry
      place = at + jnp.arange(CHUNK)
      row = jnp.searchsorted(ends, place, side='right')
      own = jnp.minimum(row, len(ends) - 1)
      entry = start[own] + place - begins[own]
      words = table['words'][entry]
      # Rows beyond the last one are dropped.
      probs = probs.at[row, words].set(table['probs'][entry], mode='drop')
      return at + CHUNK, probs

    _, probs = jax.lax.while_loop(
      lambda carry: carry[0] < ends[-1], chunk, (jnp.int32(0), probs)
    )
    return probs
