"""Min-p sampling (Nguyen et al. 2024, arXiv:2407.01082)."""

import dataclasses

import jax
import jax.numpy as jnp

from ctxlm.decoding.processors import filters


@dataclasses.dataclass(frozen=True)
class Processor:
  """Leaves the tokens of at least p times the greatest probability."""

  p: float
  least: int = 1

  def __post_init__(self):
    if not 0 <= self.p <= 1:
      raise ValueError(f'min_p: p={self.p} must be in [0, 1]')

  def __call__(self, logits, text):
    """Returns the logits, -inf where they are not left."""
    probabilities = jax.nn.softmax(logits)
    bar = self.p * jnp.max(probabilities, axis=-1, keepdims=True)
    kept = (probabilities >= bar) | filters.best(logits, self.least)
    return filters.keep(logits, kept)
