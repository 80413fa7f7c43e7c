"""Perplexity and bits per byte of a causal task on a split.

perplexity = exp(nats / tokens); bits per byte = nats / (ln 2 * bytes), which
compares models of different tokenizers.
"""

import dataclasses
import math

from ctxlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split, every_steps (the loop's)."""

  task: str = ''
  split: str = 'validation'
  every_steps: int = 0

  def run(self, context):
    """Returns loss (nats a token), perplexity, bits_per_byte, accuracy."""
    task = context.task(self.task)
    # Windows that overlap by a token are those of next-token prediction.
    if getattr(task.objective, 'overlap', 0) != 1:
      raise UserError(f'evaluator perplexity: task {task.name!r} is not causal')
    view = context.view(task, self.split)
    sums = context.sums(task, self.split)
    nats, tokens = sums['loss']
    right, _ = sums['accuracy']
    loss = nats / tokens
    return {
      'loss': loss,
      'perplexity': math.exp(min(loss, 700.0)),
      'bits_per_byte': nats / math.log(2) / view.num_bytes,
      'accuracy': right / tokens,
      'tokens': tokens,
    }
