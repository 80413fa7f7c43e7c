"""No end before some tokens."""

import dataclasses

import jax.numpy as jnp

from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forbids the tokens that end a text among the first `count` new ones.

  Attributes:
    count: as above.
    eos_ids: given by the loop.
  """

  count: Whole
  eos_ids: tuple = ()

  def __call__(self, logits, text):
    """Returns the logits, -inf for the ends where it is too early."""
    early = jnp.where(text.new < self.count, -jnp.inf, 0.0)
    for eos in self.eos_ids:
      logits = logits.at[:, eos].add(early)
    return logits
