"""Min-p sampling (Nguyen et al. 2024, arXiv:2407.01082)."""

import dataclasses

import jax
import jax.numpy as jnp

from ctxlm.decoding.processors import filters
from ctxlm.ranges import Count, Share


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the tokens of at least p times the greatest probability."""

  p: Share
  least: Count = 1

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    probabilities = jax.nn.softmax(logits)
    bar = self.p * jnp.max(probabilities, axis=-1, keepdims=True)
    kept = (probabilities >= bar) | filters.best(logits, self.least)
    return filters.keep(logits, kept)
