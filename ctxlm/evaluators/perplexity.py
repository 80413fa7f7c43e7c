"""Perplexity and bits per byte of a causal task on a split.

perplexity = exp(nats / tokens); bits per byte = nats / (ln 2 * bytes), which
compares models of different tokenizers.
"""

import dataclasses
import math

from ctxlm import objectives
from ctxlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Attributes: task ('' is the first), split (of its data)."""

  task: str = ''
  split: str = 'validation'

  def run(self, bench):
    """Returns loss (nats a token), perplexity, bits_per_byte, accuracy.

    Where only a part of the text is predicted, bits_per_byte is left out.
    """
    task = bench.task(self.task)
    if not isinstance(task.objective, objectives.PredictsNext):
      raise UserError(f'evaluator perplexity: task {task.name!r} is not causal')
    sums = bench.sums(task, self.split)
    nats, tokens = sums['loss']
    right, _ = sums['accuracy']
    loss = nats / tokens
    metrics = {
      'loss': loss,
      'perplexity': math.exp(min(loss, 700.0)),
      'accuracy': right / tokens,
      'tokens': tokens,
    }
    if task.objective.every_token:
      num_bytes = bench.view(task, self.split).num_bytes
      metrics['bits_per_byte'] = nats / math.log(2) / num_bytes
    return metrics
