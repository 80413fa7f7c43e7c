"""No end before a length that counts the prompt."""

import dataclasses

import jax.numpy as jnp

from ctxlm.decoding.processors import filters
from ctxlm.ranges import Whole


@dataclasses.dataclass(frozen=True)
class Processor:
  """Forbids the tokens that end a text of less than `count` tokens.

  Attributes:
    count: as above; the prompt's are counted, or what an encoder-decoder's
      target begins with.
    eos_ids: given by the loop.
  """

  count: Whole
  eos_ids: tuple = ()

  def __call__(self, logits, text):
    """Returns the logits, -inf for the ends where it is too early."""
    early = (text.length - text.start < self.count)[:, None]
    ends = jnp.isin(jnp.arange(logits.shape[1]), jnp.array(self.eos_ids))
    return filters.keep(logits, ~(early & ends))
