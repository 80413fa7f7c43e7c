"""Locally typical sampling (Meister et al. 2023, arXiv:2202.00666, eq. 4)."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from ctxlm.decoding.processors import filters
from ctxlm.ranges import Count, Range


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the tokens whose information is nearest to the entropy.

  The fewest that sum to `mass` or more, by |-log p - H|.
  """

  mass: Annotated[float, Range('(0, 1]')]
  least: Count = 1

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    if self.mass == 1:
      return logits
    logp = jax.nn.log_softmax(logits)
    p = jnp.exp(logp)
    entropy = -jnp.where(p > 0, p * logp, 0).sum(-1, keepdims=True)
    score = -jnp.abs(-logp - entropy)
    kept = filters.within_mass(score, p, self.mass, self.least)
    return filters.keep(logits, kept)
