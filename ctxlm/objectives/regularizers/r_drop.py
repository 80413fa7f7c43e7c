"""R-Drop: what two dropout masks of one example give should be the same.

Liang et al. 2021 (arXiv:2106.14448), equations 2 to 4, with the mean of the two
likelihoods, as in the authors' code:

    (nll_1 + nll_2) / 2 + weight * (KL(p_1 | p_2) + KL(p_2 | p_1)) / 2

and of scores their squared difference in place of the divergence.
"""

import dataclasses

from ctxlm.errors import UserError
from ctxlm.objectives import losses, regularizers
from ctxlm.ranges import AboveZero


@dataclasses.dataclass(frozen=True)
class Regularizer:
  """Attributes: weight (of the divergence)."""

  weight: AboveZero = 1.0

  edits = mixes = False

  @property
  def terms(self):
    """See regularizers.Regularizer."""
    return {'divergence': self.weight}

  def check(self, model):
    """See regularizers.Regularizer."""
    if not regularizers.drops(model):
      raise UserError(
        'r_drop compares two dropout masks, and the model has no dropout: set '
        'config.model.dropout=0.1'
      )

  def sums(self, objective, apply, params, batch, rng):
    """See regularizers.Regularizer."""
    both, rows = regularizers.twice(batch)
    out = apply(params, lambda m: objective.outputs(m, both, rows), rng)
    divergence = objective.divergence(
      out[0::2], out[1::2], batch, losses.symmetric_kl
    )
    return objective.judged(out, both) | {'divergence': divergence}
