"""Cut-off: an example of which some was erased should give the same.

Shen et al. 2020 (arXiv:2009.13818), sections 3.1 and 3.2. Embeddings, with
those of positions and types, become zero:

    nll + cut_weight * nll(cut) + weight * JS(p, p(cut))
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from ctxlm.errors import UserError
from ctxlm.objectives import losses, regularizers
from ctxlm.ranges import Range, ZeroOrMore


@dataclasses.dataclass(frozen=True)
class Regularizer:
  """Erases a share of an example's embeddings.

  Attributes:
    kind: 'token', some of its tokens; 'span', as many in a row; 'feature', some
      numbers of all tokens.
    share: of the tokens, or numbers, rounded; 1 at least.
    cut_weight, weight: see above.
  """

  kind: Literal['token', 'span', 'feature'] = 'span'
  share: Annotated[float, Range('(0, 1)')] = 0.1
  cut_weight: ZeroOrMore = 1.0
  weight: ZeroOrMore = 1.0

  edits = True
  mixes = False

  @property
  def terms(self):
    """See regularizers.Regularizer."""
    return {'erased': self.cut_weight, 'divergence': self.weight}

  def check(self, model):
    """See regularizers.Regularizer."""
    if model.encoder_decoder:
      raise UserError('cutoff is of models without an encoder-decoder')

  def sums(self, objective, apply, params, batch, rng):
    """See regularizers.Regularizer."""
    both, rows = regularizers.twice(batch)
    key = jax.random.fold_in(rng, 1)

    def edit(x, depth):
      if depth:
        return x
      used = both['segment_ids'] > 0
      cut = self.erased(key, rows, used, x.shape[-1])
      return jnp.where(cut & (rows % 2 == 1)[:, None, None], 0, x)

    out = apply(
      params, lambda m: objective.outputs(m, both, rows, edit=edit), rng
    )
    whole, cut = out[0::2], out[1::2]
    judged = objective.judged(whole, batch)
    return judged | {
      'erased': objective.judged(cut, batch)['loss'],
      'divergence': objective.divergence(
        whole, cut, batch, losses.jensen_shannon
      ),
    }

  def erased(self, key, rows, used, size):
    """Returns what is erased: bool, of a shape that is broadcast to [b, l, m].

    Args:
      key: jax key.
      rows: int32 [b], by which each draws its own.
      used: bool [b, l], where there are tokens, before all padding.
      size: m.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    count = jnp.full(len(used), size) if self.kind == 'feature' else used.sum(1)
    many = jnp.maximum(jnp.round(self.share * count), 1)[:, None]
    if self.kind == 'span':
      drawn = jax.vmap(jax.random.uniform)(keys)
      start = jnp.floor(drawn * (count - many[:, 0] + 1))[:, None]
      place = jnp.arange(used.shape[1])
      return ((place >= start) & (place < start + many))[..., None]
    length = size if self.kind == 'feature' else used.shape[1]
    drawn = jax.vmap(lambda k: jax.random.uniform(k, (length,)))(keys)
    if self.kind == 'token':
      drawn = jnp.where(used, drawn, 2)
    chosen = drawn.argsort(1).argsort(1) < many
    return chosen[:, None] if self.kind == 'feature' else chosen[..., None]
