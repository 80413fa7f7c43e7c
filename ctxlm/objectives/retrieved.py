"""Causal language modelling beside passages that were found for each row.

What is found and when it may be seen is in ctxlm.context.passages. A model that
reads passages (models.ReadsPassages) reads them in its own way. For any other
they are put in front of the text, as in-context retrieval does it (Ram et al.
2023, arXiv:2302.00083); the loss is of the row's own tokens alone.
"""

import dataclasses
from typing import Annotated, Any

import jax.numpy as jnp

from ctxlm import models, plugins
from ctxlm.objectives import causal, losses
from ctxlm.ranges import Count, Range


@dataclasses.dataclass(frozen=True)
class Objective(causal.Objective):
  """Next-token prediction on packed rows and their passages.

  Of the texts in a row the first one alone sees passages: the query is what
  its document has before the row.

  Attributes:
    passages: of a row, at most.
    passage_length: tokens of a passage, at most.
    query: tokens of the query, at most.
    corpus: source whose split 'train' the passages are of; None is the task's
      own data, of the same split.
    retriever: of ctxlm.context.retrievers; None is bm25.
    regularizer, tokenizer, max_length: see causal.Objective, whose other
      options are at their defaults.
  """

  passages: Annotated[int, Range('[1, 1000]')] = 2
  passage_length: Annotated[int, Range('[2, 65536]')] = 64
  query: Count = 32
  corpus: Any = plugins.field('data.sources')
  retriever: Any = plugins.field('context.retrievers')

  view = 'ctxlm.context.passages'

  def __post_init__(self):
    super().__post_init__()
    if self.kind != 'text' or self.prefix:
      raise ValueError("passages are for kind='text' without a prefix")

  @property
  def finder(self):
    """The retriever."""
    block = {'name': 'bm25'}
    return self.retriever or plugins.build('context.retrievers', block)

  @property
  def room(self):
    """Tokens that passages take in front of a row, at most."""
    return self.passages * self.passage_length

  def plain(self, apply, params, batch, rng):
    """Returns causal's sums, and 'gate', the mean of a model's gates."""
    rows = losses.rows(batch, rng)
    hidden, gates = apply(
      params, lambda model: self.read(model, batch, rows), rng
    )
    sums = self.told(apply, params, hidden, batch)
    if gates is not None:
      seen = (batch['segment_ids'] == 1) & _any(batch)[:, None]
      sums['gate'] = losses.weighted(gates, seen * batch['valid'][:, None])
    return sums

  def hidden(self, model, batch, rows=None):
    """See causal.Objective."""
    return self.read(model, batch, rows)[0]

  def read(self, model, batch, rows=None):
    """Returns (hidden states [b, l, m], gates float32 [b, l] or None)."""
    names = 'tokens', 'segment_ids', 'positions', 'passages', 'passage_ids'
    own = {name: batch[name] for name in names}
    if isinstance(model, models.ReadsPassages):
      return model.read_beside(**own, rows=rows)
    length = own['tokens'].shape[1]
    return model(**in_front(**own), rows=rows)[:, -length:], None


def _any(batch):
  return batch['passage_ids'].any((1, 2))


def in_front(tokens, segment_ids, positions, passages, passage_ids):
  """Returns 'tokens', 'segment_ids' and 'positions' with passages in front.

  They are of the row's first segment, without padding between them and it.

  Args:
    tokens, segment_ids, positions: int32 [b, l].
    passages, passage_ids: int32 [b, p, k]; ids are 1 where there is a token.

  Returns:
    {name: int32 [b, p * k + l]}.
  """
  b = len(tokens)
  flat, ids = passages.reshape(b, -1), passage_ids.reshape(b, -1)
  order = jnp.argsort(ids, axis=1, stable=True)
  flat, ids = (jnp.take_along_axis(x, order, axis=1) for x in (flat, ids))
  count = ids.sum(1, keepdims=True)
  own = {
    'tokens': (flat, tokens),
    'segment_ids': (ids, segment_ids),
    'positions': (
      jnp.maximum(jnp.cumsum(ids, axis=1) - 1, 0),
      positions + count * (segment_ids == 1),
    ),
  }
  return {k: jnp.concatenate(v, axis=1) for k, v in own.items()}
