"""Another model's distribution: linear interpolation (Jelinek & Mercer 1980).

    p(x | h) = (1 - w) p_1(x | h) + w p_2(x | h)

The models may be of any kinds, such as a Transformer and counted n-grams, if
they have one tokenizer. Weights by expectation maximization are `ctxlm tune`'s.
"""

import dataclasses
from typing import Any

import jax

from ctxlm.errors import UserError
from ctxlm.models.variables import variables
from ctxlm.ranges import Share


@dataclasses.dataclass(frozen=True)
class Context:
  """What another model says.

  Attributes:
    model: its folder, as --model takes it.
    weight: see context.Context.
  """

  model: str
  weight: Share = 0.5

  def open(self, model, load):
    """See context.Context."""
    other = load(self.model)
    if other.tokenizer.fingerprint != model.tokenizer.fingerprint or (
      other.model.vocab_size != model.model.vocab_size
    ):
      raise UserError(
        f'{other.folder} has another tokenizer than {model.folder}, so what '
        'they say of the next token is not of the same tokens'
      )
    return Other(other.model, self.weight), other.params


@dataclasses.dataclass(frozen=True)
class Other:
  """The model that was opened.

  Attributes:
    model: a ctxlm.decoding.Model, used as a Flax module is.
    weight: see context.Context.
  """

  model: Any
  weight: float

  @property
  def context_length(self):
    """See context.Context."""
    return self.model.context_length

  def rows(self, params, seen):
    """See context.Context."""

    def forward(model):
      return model.logits(
        model(
          seen.tokens, segment_ids=seen.segment_ids, positions=seen.positions
        )
      )

    logits = self.model.apply(variables(params), method=forward)
    return jax.nn.log_softmax(logits)

  def begin(self, params, seen, prompts):
    """See context.Context."""
    logits, memory = self.model.begin(params, prompts)
    return jax.nn.log_softmax(logits)[:, None], memory

  def advance(self, params, seen, memory):
    """See context.Context."""
    logits, memory = self.model.advance(params, seen.tokens, memory)
    return jax.nn.log_softmax(logits), memory
